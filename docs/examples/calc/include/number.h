/* Arithmetic over values: ints grow to big ones where they must, and turn to floats beside one. */
#ifndef CALC_NUMBER_H
#define CALC_NUMBER_H

#include "common.h"
#include "value.h"

typedef enum { N_ADD, N_SUBTRACT, N_MULTIPLY, N_DIVIDE, N_DIVIDE_DOWN, N_REMAINDER, N_POWER } NumberOp;

/* Computes a op b; NULL, or what is wrong with it. */
const char *number_binary(NumberOp op, Value a, Value b, Value *out);
const char *number_negate(Value value, Value *out);

/* Any integer as a big one, to be freed. */
Big number_to_big(Value value);

#endif
