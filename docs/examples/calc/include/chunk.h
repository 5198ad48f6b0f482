/* Compiled code: instructions of one size, their places, and constants. */
#ifndef CALC_CHUNK_H
#define CALC_CHUNK_H

#include "common.h"
#include "error.h"
#include "map.h"
#include "value.h"

typedef enum {
    OP_CONSTANT, OP_POP, OP_GET_LOCAL, OP_SET_LOCAL, OP_GET_GLOBAL, OP_SET_GLOBAL, OP_LIST, OP_INDEX,
    OP_ADD, OP_SUBTRACT, OP_MULTIPLY, OP_DIVIDE, OP_DIVIDE_DOWN, OP_REMAINDER, OP_POWER, OP_NEGATE, OP_NOT,
    OP_EQUAL, OP_NOT_EQUAL, OP_LESS, OP_LESS_EQUAL, OP_GREATER, OP_GREATER_EQUAL,
    OP_JUMP, OP_JUMP_IF_FALSE, OP_KEEP_IF_FALSE, OP_KEEP_IF_TRUE, OP_NEXT, OP_CALL, OP_NATIVE, OP_SHOW, OP_RETURN
} Op;

typedef struct {
    uint8_t op;
    uint8_t b; /* count of arguments, or the first slot of a loop */
    uint16_t a; /* index or target */
} Instruction;

typedef struct {
    char *name; /* NULL for the program itself */
    int params;
    int height; /* the most values it ever has on the stack */
    Instruction *code;
    Place *places;
    size_t len, cap;
    Value *constants;
    size_t constant_count, constant_cap;
} Chunk;

typedef struct {
    Chunk *chunks; /* the first is the program itself */
    size_t chunk_count;
    Map functions; /* name to index of its chunk */
    Map globals; /* name to index of its value */
} Program;

size_t chunk_emit(Chunk *chunk, Op op, unsigned a, unsigned b, Place place);

/* The index of a constant; an equal one of the same type is used again. */
size_t chunk_constant(Chunk *chunk, Value value);

/* One line an instruction, for people. */
void chunk_format(const Chunk *chunk, Buf *out);
void program_free(Program *program);

#endif
