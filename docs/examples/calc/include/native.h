/* Functions written in C that the language can call. */
#ifndef CALC_NATIVE_H
#define CALC_NATIVE_H

#include "buf.h"
#include "common.h"
#include "rng.h"
#include "value.h"

typedef struct {
    Buf *out; /* where print writes */
    Rng rng;
} Host;

typedef struct {
    const char *name;
    int min, max; /* counts of arguments */
    /* Sets a new value; NULL, or what is wrong. */
    const char *(*call)(Host *host, int count, const Value *args, Value *out);
} Native;

int native_find(const char *name);
const Native *native_at(int index);

/* The libraries: each ends with a native without a name. */
extern const Native core_library[], math_library[], text_library[], data_library[];

/* For the libraries: an argument as what it must be, or false. */
bool native_int(Value value, int64_t *out);
bool native_numbers(Value list, double **numbers, size_t *count);

#endif
