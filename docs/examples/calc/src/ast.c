#include "ast.h"

struct Constant {
    Constant *next;
    Value value;
};

Node *ast_node(Ast *ast, NodeType type, Place place)
{
    Node *node = arena_alloc(&ast->arena, sizeof *node);
    node->type = type;
    node->place = place;
    return node;
}

Node *ast_constant(Ast *ast, Value value, Place place)
{
    Constant *constant = arena_alloc(&ast->arena, sizeof *constant);
    constant->value = value;
    constant->next = ast->constants;
    ast->constants = constant;
    Node *node = ast_node(ast, A_CONSTANT, place);
    node->constant = value;
    return node;
}

int ast_count(const Node *first)
{
    int count = 0;
    for (; first; first = first->next)
        count++;
    return count;
}

static void format_all(const Node *first, Buf *out)
{
    for (; first; first = first->next) {
        buf_addc(out, ' ');
        ast_format(first, out);
    }
}

static const char *head(const Node *node)
{
    switch (node->type) {
    case A_LIST: return "list";
    case A_UNARY:
    case A_BINARY:
    case A_LOGICAL: return token_name(node->sign);
    case A_INDEX: return "index";
    case A_SHOW: return "show";
    case A_LET: return "let";
    case A_ASSIGN: return "set";
    case A_BLOCK: return "do";
    case A_IF: return "if";
    case A_WHILE: return "while";
    case A_FOR: return "for";
    case A_BREAK: return "break";
    case A_CONTINUE: return "continue";
    case A_RETURN: return "return";
    case A_FUNCTION: return "fn";
    default: return "call";
    }
}

void ast_format(const Node *node, Buf *out)
{
    if (node->type == A_CONSTANT) {
        value_format(node->constant, true, out);
        return;
    }
    if (node->type == A_NAME) {
        buf_adds(out, node->name);
        return;
    }
    buf_addf(out, "(%s", head(node));
    if (node->name)
        buf_addf(out, " %s", node->name);
    format_all(node->a, out);
    format_all(node->b, out);
    format_all(node->c, out);
    buf_addc(out, ')');
}

void ast_free(Ast *ast)
{
    for (Constant *constant = ast->constants; constant; constant = constant->next)
        value_drop(constant->value);
    ast->constants = NULL;
    arena_free(&ast->arena);
}
