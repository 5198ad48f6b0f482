#include "parser.h"

#include "lexer.h"
#include "literal.h"

enum { MAX_DEPTH = 400 };

typedef struct {
    Lexer lexer;
    Token token;
    Ast *ast;
    Error *error;
    int depth;
    bool is_in_function;
} Parser;

static Node *expression(Parser *parser, int least);
static Node *statement(Parser *parser);

static void advance(Parser *parser)
{
    parser->token = lexer_next(&parser->lexer);
    if (parser->error->is_set)
        parser->token.type = T_END;
}

static bool accept(Parser *parser, TokenType type)
{
    if (parser->token.type != type)
        return false;
    advance(parser);
    return true;
}

static void expect(Parser *parser, TokenType type, const char *where)
{
    if (!accept(parser, type))
        error_set(parser->error, parser->token.place, "expected %s %s, found %s", token_name(type), where,
                  token_name(parser->token.type));
}

static Node *node_here(Parser *parser, NodeType type)
{
    return ast_node(parser->ast, type, parser->token.place);
}

/* Nested too deep, the recursion of this parser would end the process: the error comes first. */
static bool enter(Parser *parser)
{
    if (++parser->depth > MAX_DEPTH)
        error_set(parser->error, parser->token.place, "nested more than %d deep", MAX_DEPTH);
    return !parser->error->is_set;
}

static const char *name_here(Parser *parser, const char *where)
{
    Token token = parser->token;
    expect(parser, T_NAME, where);
    return arena_copy(&parser->ast->arena, token.text, token.len);
}

static Node *items(Parser *parser, TokenType end)
{
    Node *first = NULL, **last = &first;
    while (parser->token.type != end && !parser->error->is_set) {
        *last = expression(parser, 0);
        last = &(*last)->next;
        if (!accept(parser, T_COMMA))
            break;
    }
    expect(parser, end, "at the end of a list");
    return first;
}

static Node *constant_here(Parser *parser, Value value)
{
    Node *node = ast_constant(parser->ast, value, parser->token.place);
    advance(parser);
    return node;
}

static Node *primary(Parser *parser)
{
    Node *node;
    switch (parser->token.type) {
    case T_NUMBER: return constant_here(parser, literal_number(&parser->token, parser->error));
    case T_STRING: return constant_here(parser, literal_string(&parser->token, parser->error));
    case T_TRUE: return constant_here(parser, value_bool(true));
    case T_FALSE: return constant_here(parser, value_bool(false));
    case T_NIL: return constant_here(parser, value_nil());
    case T_NAME:
        node = node_here(parser, A_NAME);
        node->name = name_here(parser, "here");
        return node;
    case T_LEFT_PAREN:
        advance(parser);
        node = expression(parser, 0);
        expect(parser, T_RIGHT_PAREN, "after the expression");
        return node;
    case T_LEFT_BRACKET:
        node = node_here(parser, A_LIST);
        advance(parser);
        node->a = items(parser, T_RIGHT_BRACKET);
        return node;
    default:
        error_set(parser->error, parser->token.place, "expected an expression, found %s",
                  token_name(parser->token.type));
        return ast_constant(parser->ast, value_nil(), parser->token.place);
    }
}

static Node *postfix(Parser *parser)
{
    Node *node = primary(parser);
    for (;;) {
        Node *outer = node_here(parser, parser->token.type == T_LEFT_BRACKET ? A_INDEX : A_CALL);
        if (accept(parser, T_LEFT_BRACKET)) {
            outer->a = node;
            outer->b = expression(parser, 0);
            expect(parser, T_RIGHT_BRACKET, "after the index");
        } else if (node->type == A_NAME && accept(parser, T_LEFT_PAREN)) {
            outer->name = node->name;
            outer->place = node->place;
            outer->a = items(parser, T_RIGHT_PAREN);
        } else {
            return node;
        }
        node = outer;
    }
}

enum { LEVEL_NOT = 3, LEVEL_NEGATE = 7, LEVEL_POWER = 8 };

static int level(TokenType type)
{
    switch (type) {
    case T_OR: return 1;
    case T_AND: return 2;
    case T_EQUAL: case T_NOT_EQUAL: case T_LESS: case T_LESS_EQUAL: case T_GREATER: case T_GREATER_EQUAL: return 4;
    case T_PLUS: case T_MINUS: return 5;
    case T_STAR: case T_SLASH: case T_SLASH_SLASH: case T_PERCENT: return 6;
    case T_CARET: return LEVEL_POWER;
    default: return 0;
    }
}

static Node *prefix(Parser *parser)
{
    TokenType sign = parser->token.type;
    if (sign != T_MINUS && sign != T_NOT)
        return postfix(parser);
    Node *node = node_here(parser, A_UNARY);
    node->sign = sign;
    advance(parser);
    node->a = expression(parser, sign == T_NOT ? LEVEL_NOT : LEVEL_NEGATE);
    return node;
}

static Node *expression(Parser *parser, int least)
{
    if (!enter(parser))
        return ast_constant(parser->ast, value_nil(), parser->token.place);
    Node *left = prefix(parser);
    for (;;) {
        TokenType sign = parser->token.type;
        int here = level(sign);
        if (!here || here < least)
            break;
        Node *node = node_here(parser, sign == T_AND || sign == T_OR ? A_LOGICAL : A_BINARY);
        node->sign = sign;
        advance(parser);
        node->a = left;
        /* Powers group to the right: 2^3^2 is 2^(3^2); 2^-1 reads its sign. */
        node->b = expression(parser, sign == T_CARET ? LEVEL_NEGATE : here + 1);
        left = node;
    }
    parser->depth--;
    return left;
}

static Node *block(Parser *parser)
{
    Node *node = node_here(parser, A_BLOCK);
    expect(parser, T_LEFT_BRACE, "before a block");
    Node **last = &node->a;
    while (parser->token.type != T_RIGHT_BRACE && !parser->error->is_set) {
        if (parser->token.type == T_END)
            break;
        *last = statement(parser);
        last = &(*last)->next;
    }
    expect(parser, T_RIGHT_BRACE, "after a block");
    return node;
}

static Node *if_statement(Parser *parser)
{
    Node *node = node_here(parser, A_IF);
    advance(parser);
    node->a = expression(parser, 0);
    node->b = block(parser);
    if (accept(parser, T_ELSE))
        node->c = parser->token.type == T_IF && enter(parser) ? if_statement(parser) : block(parser);
    return node;
}

static Node *let_statement(Parser *parser)
{
    Node *node = node_here(parser, A_LET);
    advance(parser);
    node->name = name_here(parser, "after let");
    expect(parser, T_ASSIGN, "after the name");
    node->a = expression(parser, 0);
    expect(parser, T_SEMICOLON, "after the value");
    return node;
}

static Node *for_statement(Parser *parser)
{
    Node *node = node_here(parser, A_FOR);
    advance(parser);
    node->name = name_here(parser, "after for");
    expect(parser, T_IN, "after the name");
    node->a = expression(parser, 0);
    node->b = block(parser);
    return node;
}

static Node *function(Parser *parser)
{
    Node *node = node_here(parser, A_FUNCTION);
    if (parser->is_in_function || parser->depth)
        error_set(parser->error, node->place, "a function stands at the top level only");
    advance(parser);
    node->name = name_here(parser, "after fn");
    expect(parser, T_LEFT_PAREN, "before the parameters");
    Node **last = &node->a;
    while (parser->token.type == T_NAME) {
        *last = node_here(parser, A_NAME);
        (*last)->name = name_here(parser, "as a parameter");
        last = &(*last)->next;
        if (!accept(parser, T_COMMA))
            break;
    }
    expect(parser, T_RIGHT_PAREN, "after the parameters");
    parser->is_in_function = true;
    node->b = block(parser);
    parser->is_in_function = false;
    return node;
}

static Node *return_statement(Parser *parser)
{
    Node *node = node_here(parser, A_RETURN);
    if (!parser->is_in_function)
        error_set(parser->error, node->place, "return stands inside of a function only");
    advance(parser);
    if (parser->token.type != T_SEMICOLON)
        node->a = expression(parser, 0);
    expect(parser, T_SEMICOLON, "after return");
    return node;
}

static Node *jump_statement(Parser *parser, NodeType type)
{
    Node *node = node_here(parser, type);
    advance(parser);
    expect(parser, T_SEMICOLON, "after the statement");
    return node;
}

static Node *plain_statement(Parser *parser)
{
    Node *value = expression(parser, 0);
    Node *node;
    if (value->type == A_NAME && parser->token.type == T_ASSIGN) {
        node = ast_node(parser->ast, A_ASSIGN, value->place);
        node->name = value->name;
        advance(parser);
        node->a = expression(parser, 0);
    } else {
        node = ast_node(parser->ast, A_SHOW, value->place);
        node->a = value;
    }
    /* The last expression of a program may stand without its semicolon, as on a calculator. */
    if (parser->token.type != T_END || parser->depth)
        expect(parser, T_SEMICOLON, "after the expression");
    return node;
}

static Node *statement(Parser *parser)
{
    switch (parser->token.type) {
    case T_FN: return function(parser);
    case T_RETURN: return return_statement(parser);
    case T_LET: return let_statement(parser);
    case T_BREAK: return jump_statement(parser, A_BREAK);
    case T_CONTINUE: return jump_statement(parser, A_CONTINUE);
    case T_LEFT_BRACE: case T_IF: case T_WHILE: case T_FOR: break;
    default: return plain_statement(parser);
    }
    if (!enter(parser))
        return node_here(parser, A_BLOCK);
    int depth = parser->depth;
    Node *node;
    if (parser->token.type == T_WHILE) {
        node = node_here(parser, A_WHILE);
        advance(parser);
        node->a = expression(parser, 0);
        node->b = block(parser);
    } else {
        TokenType type = parser->token.type;
        node = type == T_IF ? if_statement(parser) : type == T_FOR ? for_statement(parser) : block(parser);
    }
    parser->depth = depth - 1;
    return node;
}

Node *parse(Ast *ast, const char *source, Error *error)
{
    Parser parser = {.ast = ast, .error = error};
    lexer_start(&parser.lexer, source, error);
    advance(&parser);
    Node *program = node_here(&parser, A_BLOCK);
    Node **last = &program->a;
    while (parser.token.type != T_END && !error->is_set) {
        *last = statement(&parser);
        last = &(*last)->next;
    }
    return error->is_set ? NULL : program;
}
