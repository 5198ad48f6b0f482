#include "mem.h"

#include <stdalign.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PAGE_SIZE = 8192 };

struct ArenaPage {
    ArenaPage *next;
    size_t used;
    size_t size;
    alignas(max_align_t) unsigned char bytes[];
};

static NORETURN void out_of_memory(size_t size)
{
    fprintf(stderr, "calc: out of memory (%zu bytes were asked for)\n", size);
    exit(70);
}

void *mem_alloc(size_t size)
{
    void *block = calloc(1, size ? size : 1);
    if (!block)
        out_of_memory(size);
    return block;
}

void *mem_resize(void *block, size_t size)
{
    void *moved = realloc(block, size ? size : 1);
    if (!moved)
        out_of_memory(size);
    return moved;
}

char *mem_copy(const char *text, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (len)
        memcpy(copy, text, len);
    return copy;
}

void mem_free(void *block)
{
    free(block);
}

size_t mem_grown(size_t have, size_t needed)
{
    size_t size = have ? have : 8;
    while (size < needed)
        size *= 2;
    return size;
}

void *arena_alloc(Arena *arena, size_t size)
{
    size_t aligned = (size + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    ArenaPage *page = arena->page;
    if (!page || page->size - page->used < aligned) {
        size_t room = aligned > PAGE_SIZE ? aligned : PAGE_SIZE;
        page = mem_alloc(sizeof *page + room);
        page->size = room;
        page->next = arena->page;
        arena->page = page;
    }
    void *block = page->bytes + page->used;
    page->used += aligned;
    return block;
}

char *arena_copy(Arena *arena, const char *text, size_t len)
{
    char *copy = arena_alloc(arena, len + 1);
    if (len)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void arena_free(Arena *arena)
{
    while (arena->page) {
        ArenaPage *next = arena->page->next;
        mem_free(arena->page);
        arena->page = next;
    }
}
