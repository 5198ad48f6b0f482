#include "lexer.h"

#include <ctype.h>
#include <string.h>

static const char *const names[] = {
    [T_END] = "the end", [T_NUMBER] = "a number", [T_STRING] = "a string", [T_NAME] = "a name",
    [T_LET] = "let", [T_FN] = "fn", [T_RETURN] = "return", [T_IF] = "if", [T_ELSE] = "else",
    [T_WHILE] = "while", [T_FOR] = "for", [T_IN] = "in", [T_BREAK] = "break", [T_CONTINUE] = "continue",
    [T_TRUE] = "true", [T_FALSE] = "false", [T_NIL] = "nil", [T_AND] = "and", [T_OR] = "or", [T_NOT] = "not",
    [T_LEFT_PAREN] = "(", [T_RIGHT_PAREN] = ")", [T_LEFT_BRACKET] = "[", [T_RIGHT_BRACKET] = "]",
    [T_LEFT_BRACE] = "{", [T_RIGHT_BRACE] = "}", [T_COMMA] = ",", [T_SEMICOLON] = ";", [T_ASSIGN] = "=",
    [T_PLUS] = "+", [T_MINUS] = "-", [T_STAR] = "*", [T_SLASH] = "/", [T_SLASH_SLASH] = "//",
    [T_PERCENT] = "%", [T_CARET] = "^", [T_EQUAL] = "==", [T_NOT_EQUAL] = "!=", [T_LESS] = "<",
    [T_LESS_EQUAL] = "<=", [T_GREATER] = ">", [T_GREATER_EQUAL] = ">=",
};

const char *token_name(TokenType type)
{
    return names[type];
}

void lexer_start(Lexer *lexer, const char *source, Error *error)
{
    *lexer = (Lexer){.at = source, .place = {.line = 1, .column = 1}, .error = error};
}

static void advance(Lexer *lexer, size_t count)
{
    for (; count; count--, lexer->at++) {
        if (*lexer->at == '\n') {
            lexer->place.line++;
            lexer->place.column = 1;
        } else if (((unsigned char)*lexer->at & 0xC0) != 0x80) {
            lexer->place.column++;
        }
    }
}

static void skip_blank(Lexer *lexer)
{
    for (;;) {
        if (*lexer->at == '#')
            advance(lexer, strcspn(lexer->at, "\n"));
        else if (isspace((unsigned char)*lexer->at))
            advance(lexer, 1);
        else
            return;
    }
}

static size_t number_len(const char *text)
{
    size_t len = 0;
    if (text[0] == '0' && strchr("xXbB", text[1]) && text[1]) {
        len = 2;
        while (isalnum((unsigned char)text[len]) || text[len] == '_')
            len++;
        return len;
    }
    while (isdigit((unsigned char)text[len]) || text[len] == '_')
        len++;
    if (text[len] == '.' && isdigit((unsigned char)text[len + 1]))
        for (len++; isdigit((unsigned char)text[len]);)
            len++;
    if (text[len] == 'e' || text[len] == 'E') {
        size_t digits = len + 1 + (text[len + 1] == '+' || text[len + 1] == '-');
        if (isdigit((unsigned char)text[digits]))
            for (len = digits; isdigit((unsigned char)text[len]);)
                len++;
    }
    return len;
}

static size_t string_len(Lexer *lexer)
{
    size_t len = 1;
    while (lexer->at[len] != '"') {
        if (lexer->at[len] == '\0' || lexer->at[len] == '\n') {
            error_set(lexer->error, lexer->place, "a string without its closing quote");
            return len;
        }
        len += lexer->at[len] == '\\' && lexer->at[len + 1] ? 2 : 1;
    }
    return len + 1;
}

static size_t name_len(const char *text)
{
    size_t len = 0;
    while (isalnum((unsigned char)text[len]) || text[len] == '_')
        len++;
    return len;
}

static TokenType name_type(const char *text, size_t len)
{
    for (TokenType type = T_LET; type <= T_NOT; type++)
        if (strlen(names[type]) == len && memcmp(names[type], text, len) == 0)
            return type;
    return T_NAME;
}

/* The longest sign that the text starts with; T_END when there is none. */
static TokenType sign_type(const char *text, size_t *len)
{
    TokenType found = T_END;
    *len = 0;
    for (TokenType type = T_LEFT_PAREN; type <= T_GREATER_EQUAL; type++) {
        size_t size = strlen(names[type]);
        if (size > *len && strncmp(text, names[type], size) == 0) {
            found = type;
            *len = size;
        }
    }
    return found;
}

Token lexer_next(Lexer *lexer)
{
    skip_blank(lexer);
    Token token = {.text = lexer->at, .place = lexer->place};
    unsigned char c = (unsigned char)*lexer->at;
    if (c == '\0')
        return token;
    if (isdigit(c)) {
        token.type = T_NUMBER;
        token.len = number_len(lexer->at);
    } else if (c == '"') {
        token.type = T_STRING;
        token.len = string_len(lexer);
    } else if (isalpha(c) || c == '_') {
        token.len = name_len(lexer->at);
        token.type = name_type(token.text, token.len);
    } else {
        token.type = sign_type(lexer->at, &token.len);
        if (token.type == T_END)
            error_set(lexer->error, token.place, "the character '%c' (0x%02x) has no meaning here",
                      isprint(c) ? c : '?', c);
    }
    advance(lexer, token.len);
    return token;
}
