/* Tokens to a tree, by precedence climbing. */
#ifndef CALC_PARSER_H
#define CALC_PARSER_H

#include "ast.h"
#include "error.h"

/* The statements of a program as one block; NULL when the error was set. */
Node *parse(Ast *ast, const char *source, Error *error);

#endif
