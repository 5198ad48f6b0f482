#include "compiler.h"

#include <string.h>

#include "mem.h"
#include "native.h"

enum { MAX_LOCALS = 250, MAX_INDEX = 65535, MAX_DEPTH = 5000, MAX_BREAKS = 100 };

typedef struct Loop Loop;

struct Loop {
    Loop *outer;
    size_t start;
    int locals;
    size_t breaks[MAX_BREAKS];
    int break_count;
};

typedef struct {
    Program *program;
    Chunk *chunk;
    Error *error;
    const char *locals[MAX_LOCALS];
    int local_count;
    int scope; /* 0: at the top level of the program, where let makes globals */
    int height;
    int depth;
    Loop *loop;
} Compiler;

static void expression(Compiler *compiler, const Node *node);
static void statement(Compiler *compiler, const Node *node);

static size_t emit(Compiler *compiler, Op op, size_t a, int b, int effect, Place place)
{
    if (a > MAX_INDEX || compiler->chunk->len > MAX_INDEX) {
        error_set(compiler->error, place, "this part of the program is too large");
        return 0;
    }
    compiler->height += effect;
    if (compiler->height > compiler->chunk->height)
        compiler->chunk->height = compiler->height;
    return chunk_emit(compiler->chunk, op, (unsigned)a, (unsigned)b, place);
}

static void emit_constant(Compiler *compiler, Value value, Place place)
{
    emit(compiler, OP_CONSTANT, chunk_constant(compiler->chunk, value), 0, 1, place);
}

/* Lets a jump lead to the next instruction. */
static void land(Compiler *compiler, size_t jump)
{
    if (!compiler->error->is_set)
        compiler->chunk->code[jump].a = (uint16_t)compiler->chunk->len;
}

static int find_local(const Compiler *compiler, const char *name)
{
    for (int i = compiler->local_count; i-- > 0;)
        if (strcmp(compiler->locals[i], name) == 0)
            return i;
    return -1;
}

static void add_local(Compiler *compiler, const char *name, Place place)
{
    if (compiler->local_count == MAX_LOCALS)
        error_set(compiler->error, place, "more than %d names in one function", MAX_LOCALS);
    else
        compiler->locals[compiler->local_count++] = name;
}

static void drop_locals(Compiler *compiler, int keep, Place place)
{
    for (int i = compiler->local_count; i > keep; i--)
        emit(compiler, OP_POP, 0, 0, -1, place);
}

static void variable(Compiler *compiler, const Node *node, Op local, Op global, int effect)
{
    int slot = find_local(compiler, node->name);
    if (slot >= 0) {
        emit(compiler, local, (size_t)slot, 0, effect, node->place);
        return;
    }
    slot = map_get(&compiler->program->globals, node->name, strlen(node->name));
    if (slot < 0)
        error_set(compiler->error, node->place, "the name '%s' was not defined with let", node->name);
    else
        emit(compiler, global, (size_t)slot, 0, effect, node->place);
}

static int expressions(Compiler *compiler, const Node *first)
{
    int count = 0;
    for (; first; first = first->next, count++)
        expression(compiler, first);
    return count;
}

static void check_count(Compiler *compiler, const Node *node, int count, int min, int max)
{
    if (count >= min && count <= max)
        return;
    if (min == max)
        error_set(compiler->error, node->place, "%s takes %d arguments, %d given", node->name, min, count);
    else
        error_set(compiler->error, node->place, "%s takes %d to %d arguments, %d given", node->name, min, max, count);
}

static void call(Compiler *compiler, const Node *node)
{
    int count = expressions(compiler, node->a);
    int index = map_get(&compiler->program->functions, node->name, strlen(node->name));
    if (index >= 0) {
        int params = compiler->program->chunks[index].params;
        check_count(compiler, node, count, params, params);
        emit(compiler, OP_CALL, (size_t)index, count, 1 - count, node->place);
        return;
    }
    index = native_find(node->name);
    if (index < 0) {
        error_set(compiler->error, node->place, "there is no function '%s'", node->name);
        return;
    }
    const Native *native = native_at(index);
    check_count(compiler, node, count, native->min, native->max);
    emit(compiler, OP_NATIVE, (size_t)index, count, 1 - count, node->place);
}

static Op binary_op(TokenType sign)
{
    switch (sign) {
    case T_PLUS: return OP_ADD;
    case T_MINUS: return OP_SUBTRACT;
    case T_STAR: return OP_MULTIPLY;
    case T_SLASH: return OP_DIVIDE;
    case T_SLASH_SLASH: return OP_DIVIDE_DOWN;
    case T_PERCENT: return OP_REMAINDER;
    case T_CARET: return OP_POWER;
    case T_EQUAL: return OP_EQUAL;
    case T_NOT_EQUAL: return OP_NOT_EQUAL;
    case T_LESS: return OP_LESS;
    case T_LESS_EQUAL: return OP_LESS_EQUAL;
    case T_GREATER: return OP_GREATER;
    default: return OP_GREATER_EQUAL;
    }
}

static void logical(Compiler *compiler, const Node *node)
{
    expression(compiler, node->a);
    size_t end = emit(compiler, node->sign == T_AND ? OP_KEEP_IF_FALSE : OP_KEEP_IF_TRUE, 0, 0, 0, node->place);
    emit(compiler, OP_POP, 0, 0, -1, node->place);
    expression(compiler, node->b);
    land(compiler, end);
}

static void binary(Compiler *compiler, const Node *node, Op op)
{
    expression(compiler, node->a);
    expression(compiler, node->b);
    emit(compiler, op, 0, 0, -1, node->place);
}

static void expression(Compiler *compiler, const Node *node)
{
    if (++compiler->depth > MAX_DEPTH)
        error_set(compiler->error, node->place, "an expression of more than %d parts", MAX_DEPTH);
    if (compiler->error->is_set)
        return;
    switch (node->type) {
    case A_CONSTANT: emit_constant(compiler, node->constant, node->place); break;
    case A_NAME: variable(compiler, node, OP_GET_LOCAL, OP_GET_GLOBAL, 1); break;
    case A_LIST: {
        int count = expressions(compiler, node->a);
        emit(compiler, OP_LIST, (size_t)count, 0, 1 - count, node->place);
        break;
    }
    case A_UNARY:
        expression(compiler, node->a);
        emit(compiler, node->sign == T_NOT ? OP_NOT : OP_NEGATE, 0, 0, 0, node->place);
        break;
    case A_BINARY: binary(compiler, node, binary_op(node->sign)); break;
    case A_INDEX: binary(compiler, node, OP_INDEX); break;
    case A_LOGICAL: logical(compiler, node); break;
    default: call(compiler, node); break;
    }
    compiler->depth--;
}

static void block(Compiler *compiler, const Node *node)
{
    int locals = compiler->local_count;
    compiler->scope++;
    for (const Node *each = node->a; each && !compiler->error->is_set; each = each->next)
        statement(compiler, each);
    compiler->scope--;
    drop_locals(compiler, locals, node->place);
    compiler->local_count = locals;
}

static void let(Compiler *compiler, const Node *node)
{
    expression(compiler, node->a);
    if (compiler->scope) {
        add_local(compiler, node->name, node->place);
        return;
    }
    Map *globals = &compiler->program->globals;
    size_t len = strlen(node->name);
    if (map_get(globals, node->name, len) < 0)
        map_set(globals, node->name, len, (int)globals->count);
    emit(compiler, OP_SET_GLOBAL, (size_t)map_get(globals, node->name, len), 0, -1, node->place);
}

static void if_statement(Compiler *compiler, const Node *node)
{
    expression(compiler, node->a);
    size_t otherwise = emit(compiler, OP_JUMP_IF_FALSE, 0, 0, -1, node->place);
    block(compiler, node->b);
    if (!node->c) {
        land(compiler, otherwise);
        return;
    }
    size_t end = emit(compiler, OP_JUMP, 0, 0, 0, node->place);
    land(compiler, otherwise);
    statement(compiler, node->c);
    land(compiler, end);
}

static void loop_body(Compiler *compiler, const Node *node, Loop *loop, size_t exit)
{
    compiler->loop = loop;
    block(compiler, node->b);
    compiler->loop = loop->outer;
    emit(compiler, OP_JUMP, loop->start, 0, 0, node->place);
    land(compiler, exit);
    for (int i = 0; i < loop->break_count; i++)
        land(compiler, loop->breaks[i]);
}

static void while_statement(Compiler *compiler, const Node *node)
{
    Loop loop = {.outer = compiler->loop, .start = compiler->chunk->len, .locals = compiler->local_count};
    expression(compiler, node->a);
    size_t exit = emit(compiler, OP_JUMP_IF_FALSE, 0, 0, -1, node->place);
    loop_body(compiler, node, &loop, exit);
}

static void for_statement(Compiler *compiler, const Node *node)
{
    int first = compiler->local_count;
    expression(compiler, node->a);
    emit_constant(compiler, value_int(0), node->place);
    emit_constant(compiler, value_nil(), node->place);
    add_local(compiler, "(list)", node->place);
    add_local(compiler, "(index)", node->place);
    add_local(compiler, node->name, node->place);
    Loop loop = {.outer = compiler->loop, .start = compiler->chunk->len, .locals = compiler->local_count};
    size_t exit = emit(compiler, OP_NEXT, 0, first, 0, node->place);
    loop_body(compiler, node, &loop, exit);
    drop_locals(compiler, first, node->place);
    compiler->local_count = first;
}

static void jump_out(Compiler *compiler, const Node *node)
{
    Loop *loop = compiler->loop;
    if (!loop || loop->break_count == MAX_BREAKS) {
        error_set(compiler->error, node->place, loop ? "too many breaks" : "there is no loop around this");
        return;
    }
    int height = compiler->height;
    drop_locals(compiler, loop->locals, node->place);
    size_t jump = emit(compiler, OP_JUMP, loop->start, 0, 0, node->place);
    if (node->type == A_BREAK)
        loop->breaks[loop->break_count++] = jump;
    compiler->height = height;
}

static void statement(Compiler *compiler, const Node *node)
{
    switch (node->type) {
    case A_FUNCTION: break; /* compiled on its own */
    case A_BLOCK: block(compiler, node); break;
    case A_LET: let(compiler, node); break;
    case A_IF: if_statement(compiler, node); break;
    case A_WHILE: while_statement(compiler, node); break;
    case A_FOR: for_statement(compiler, node); break;
    case A_BREAK:
    case A_CONTINUE: jump_out(compiler, node); break;
    case A_ASSIGN:
        expression(compiler, node->a);
        variable(compiler, node, OP_SET_LOCAL, OP_SET_GLOBAL, -1);
        break;
    case A_RETURN:
        if (node->a)
            expression(compiler, node->a);
        else
            emit_constant(compiler, value_nil(), node->place);
        emit(compiler, OP_RETURN, 0, 0, -1, node->place);
        break;
    default:
        expression(compiler, node->a);
        emit(compiler, compiler->scope ? OP_POP : OP_SHOW, 0, 0, -1, node->place);
    }
}

static void finish(Compiler *compiler, Place place)
{
    emit_constant(compiler, value_nil(), place);
    emit(compiler, OP_RETURN, 0, 0, -1, place);
}

static void function(Program *program, const Node *node, int index, Error *error)
{
    Compiler compiler = {.program = program, .chunk = &program->chunks[index], .error = error, .scope = 1};
    for (const Node *param = node->a; param; param = param->next)
        add_local(&compiler, param->name, param->place);
    compiler.height = compiler.chunk->height = compiler.local_count;
    block(&compiler, node->b);
    finish(&compiler, node->place);
}

static void declare(Program *program, const Node *node, int index, Error *error)
{
    size_t len = strlen(node->name);
    if (native_find(node->name) >= 0)
        error_set(error, node->place, "'%s' is a built-in function", node->name);
    if (!map_set(&program->functions, node->name, len, index))
        error_set(error, node->place, "the function '%s' is defined twice", node->name);
    program->chunks[index].name = mem_copy(node->name, len);
    program->chunks[index].params = ast_count(node->a);
    if (program->chunks[index].params > MAX_LOCALS)
        error_set(error, node->place, "more than %d parameters", MAX_LOCALS);
}

bool compile(const Node *tree, Program *program, Error *error)
{
    *program = (Program){.chunk_count = 1};
    for (const Node *node = tree->a; node; node = node->next)
        program->chunk_count += node->type == A_FUNCTION;
    program->chunks = mem_alloc(program->chunk_count * sizeof *program->chunks);
    int index = 1;
    for (const Node *node = tree->a; node; node = node->next)
        if (node->type == A_FUNCTION)
            declare(program, node, index++, error);
    Compiler compiler = {.program = program, .chunk = &program->chunks[0], .error = error};
    for (const Node *node = tree->a; node && !error->is_set; node = node->next)
        statement(&compiler, node);
    finish(&compiler, tree->place);
    index = 1; /* functions come last: they may use any global */
    for (const Node *node = tree->a; node && !error->is_set; node = node->next)
        if (node->type == A_FUNCTION)
            function(program, node, index++, error);
    return !error->is_set;
}
