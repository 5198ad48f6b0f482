/* The tree of a program. Nodes live in an arena; constants are owned by it through a list. */
#ifndef CALC_AST_H
#define CALC_AST_H

#include "common.h"
#include "error.h"
#include "lexer.h"
#include "mem.h"
#include "value.h"

typedef enum {
    A_CONSTANT, A_NAME, A_LIST, A_UNARY, A_BINARY, A_LOGICAL, A_CALL, A_INDEX,
    A_SHOW, A_LET, A_ASSIGN, A_BLOCK, A_IF, A_WHILE, A_FOR, A_BREAK, A_CONTINUE, A_RETURN, A_FUNCTION
} NodeType;

typedef struct Node Node;

struct Node {
    NodeType type;
    TokenType sign; /* of A_UNARY, A_BINARY, A_LOGICAL */
    Place place;
    Node *next; /* the following statement, item or parameter */
    const char *name;
    Value constant;
    Node *a; /* operand, left side, condition, first item, first parameter */
    Node *b; /* right side, body */
    Node *c; /* the else part */
};

typedef struct Constant Constant;

typedef struct {
    Arena arena;
    Constant *constants;
} Ast;

Node *ast_node(Ast *ast, NodeType type, Place place);
Node *ast_constant(Ast *ast, Value value, Place place);
int ast_count(const Node *first);

/* The tree as nested brackets: what tests of the parser compare. */
void ast_format(const Node *node, Buf *out);
void ast_free(Ast *ast);

#endif
