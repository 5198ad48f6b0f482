/* A hash map from names to small numbers: symbol tables, constants, columns. */
#ifndef CALC_MAP_H
#define CALC_MAP_H

#include "common.h"

typedef struct {
    char *key; /* NULL: free */
    size_t len;
    uint32_t hash;
    int value;
} MapSlot;

typedef struct {
    MapSlot *slots;
    size_t count;
    size_t cap; /* a power of two, or 0 */
} Map;

uint32_t hash_bytes(const char *bytes, size_t len);

/* The value of a key, or -1. */
int map_get(const Map *map, const char *key, size_t len);

/* Sets a key, which is copied; true when it is new. */
bool map_set(Map *map, const char *key, size_t len, int value);

void map_free(Map *map);

#endif
