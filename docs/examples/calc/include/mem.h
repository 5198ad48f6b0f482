/* Memory that is there or ends the program, and arenas freed in one go. */
#ifndef CALC_MEM_H
#define CALC_MEM_H

#include "common.h"

void *mem_alloc(size_t size);
void *mem_resize(void *block, size_t size);
char *mem_copy(const char *text, size_t len);
void mem_free(void *block);

/* The capacity to grow to so that `needed` items fit, doubling from `have`. */
size_t mem_grown(size_t have, size_t needed);

typedef struct ArenaPage ArenaPage;
typedef struct { ArenaPage *page; } Arena;

void *arena_alloc(Arena *arena, size_t size);
char *arena_copy(Arena *arena, const char *text, size_t len);
void arena_free(Arena *arena);

#endif
