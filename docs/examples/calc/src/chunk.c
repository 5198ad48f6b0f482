#include "chunk.h"

#include "mem.h"

static const char *const names[] = {
    "constant", "pop", "get-local", "set-local", "get-global", "set-global", "list", "index",
    "add", "subtract", "multiply", "divide", "divide-down", "remainder", "power", "negate", "not",
    "equal", "not-equal", "less", "less-equal", "greater", "greater-equal",
    "jump", "jump-if-false", "keep-if-false", "keep-if-true", "next", "call", "native", "show", "return",
};

size_t chunk_emit(Chunk *chunk, Op op, unsigned a, unsigned b, Place place)
{
    if (chunk->len == chunk->cap) {
        chunk->cap = mem_grown(chunk->cap, chunk->len + 1);
        chunk->code = mem_resize(chunk->code, chunk->cap * sizeof *chunk->code);
        chunk->places = mem_resize(chunk->places, chunk->cap * sizeof *chunk->places);
    }
    chunk->code[chunk->len] = (Instruction){.op = (uint8_t)op, .b = (uint8_t)b, .a = (uint16_t)a};
    chunk->places[chunk->len] = place;
    return chunk->len++;
}

size_t chunk_constant(Chunk *chunk, Value value)
{
    for (size_t i = 0; i < chunk->constant_count; i++)
        if (chunk->constants[i].type == value.type && value_equal(chunk->constants[i], value))
            return i;
    if (chunk->constant_count == chunk->constant_cap) {
        chunk->constant_cap = mem_grown(chunk->constant_cap, chunk->constant_count + 1);
        chunk->constants = mem_resize(chunk->constants, chunk->constant_cap * sizeof *chunk->constants);
    }
    chunk->constants[chunk->constant_count] = value_keep(value);
    return chunk->constant_count++;
}

void chunk_format(const Chunk *chunk, Buf *out)
{
    buf_addf(out, "%s: %d parameters, height %d\n", chunk->name ? chunk->name : "program", chunk->params,
             chunk->height);
    for (size_t i = 0; i < chunk->len; i++) {
        const Instruction *code = &chunk->code[i];
        buf_addf(out, "%5zu  %-14s", i, names[code->op]);
        if (code->op == OP_CONSTANT)
            value_format(chunk->constants[code->a], true, out);
        else if (code->op <= OP_LIST || code->op >= OP_JUMP)
            buf_addf(out, "%u %u", code->a, code->b);
        buf_addc(out, '\n');
    }
}

static void chunk_free(Chunk *chunk)
{
    for (size_t i = 0; i < chunk->constant_count; i++)
        value_drop(chunk->constants[i]);
    mem_free(chunk->constants);
    mem_free(chunk->code);
    mem_free(chunk->places);
    mem_free(chunk->name);
}

void program_free(Program *program)
{
    for (size_t i = 0; i < program->chunk_count; i++)
        chunk_free(&program->chunks[i]);
    mem_free(program->chunks);
    map_free(&program->functions);
    map_free(&program->globals);
    *program = (Program){0};
}
