/* What number and string tokens stand for. */
#ifndef CALC_LITERAL_H
#define CALC_LITERAL_H

#include "error.h"
#include "lexer.h"
#include "value.h"

/* The value of a token; nil, with the error set, when it cannot be read. */
Value literal_number(const Token *token, Error *error);
Value literal_string(const Token *token, Error *error);

/* A number as in a data file: sign, digits, point, exponent, nothing else. */
bool literal_parse(const char *text, size_t len, Value *out);

#endif
