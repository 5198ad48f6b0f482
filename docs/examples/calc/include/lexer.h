/* Source text to tokens. */
#ifndef CALC_LEXER_H
#define CALC_LEXER_H

#include "common.h"
#include "error.h"

typedef enum {
    T_END, T_NUMBER, T_STRING, T_NAME,
    T_LET, T_FN, T_RETURN, T_IF, T_ELSE, T_WHILE, T_FOR, T_IN, T_BREAK, T_CONTINUE,
    T_TRUE, T_FALSE, T_NIL, T_AND, T_OR, T_NOT,
    T_LEFT_PAREN, T_RIGHT_PAREN, T_LEFT_BRACKET, T_RIGHT_BRACKET, T_LEFT_BRACE, T_RIGHT_BRACE,
    T_COMMA, T_SEMICOLON, T_ASSIGN,
    T_PLUS, T_MINUS, T_STAR, T_SLASH, T_SLASH_SLASH, T_PERCENT, T_CARET,
    T_EQUAL, T_NOT_EQUAL, T_LESS, T_LESS_EQUAL, T_GREATER, T_GREATER_EQUAL
} TokenType;

typedef struct {
    TokenType type;
    const char *text; /* in the source */
    size_t len;
    Place place;
} Token;

typedef struct {
    const char *at;
    Place place;
    Error *error;
} Lexer;

void lexer_start(Lexer *lexer, const char *source, Error *error);
Token lexer_next(Lexer *lexer);

/* What to call a token in a message. */
const char *token_name(TokenType type);

#endif
