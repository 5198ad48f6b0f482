#include "map.h"

#include <string.h>

#include "mem.h"

/* FNV-1a, 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/ */
uint32_t hash_bytes(const char *bytes, size_t len)
{
    uint32_t hash = 2166136261u;
    for (size_t i = 0; i < len; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * 16777619u;
    return hash;
}

/* The slot of a key, or the free one where it would go. */
static MapSlot *find(const Map *map, const char *key, size_t len, uint32_t hash)
{
    size_t mask = map->cap - 1;
    for (size_t at = hash & mask;; at = (at + 1) & mask) {
        MapSlot *slot = &map->slots[at];
        if (!slot->key)
            return slot;
        if (slot->hash == hash && slot->len == len && memcmp(slot->key, key, len) == 0)
            return slot;
    }
}

static void grow(Map *map)
{
    Map larger = {.count = map->count, .cap = map->cap ? map->cap * 2 : 16};
    larger.slots = mem_alloc(larger.cap * sizeof *larger.slots);
    for (size_t i = 0; i < map->cap; i++) {
        MapSlot *old = &map->slots[i];
        if (old->key)
            *find(&larger, old->key, old->len, old->hash) = *old;
    }
    mem_free(map->slots);
    *map = larger;
}

int map_get(const Map *map, const char *key, size_t len)
{
    if (!map->count)
        return -1;
    const MapSlot *slot = find(map, key, len, hash_bytes(key, len));
    return slot->key ? slot->value : -1;
}

bool map_set(Map *map, const char *key, size_t len, int value)
{
    if ((map->count + 1) * 4 > map->cap * 3)
        grow(map);
    uint32_t hash = hash_bytes(key, len);
    MapSlot *slot = find(map, key, len, hash);
    bool is_new = !slot->key;
    if (is_new) {
        *slot = (MapSlot){.key = mem_copy(key, len), .len = len, .hash = hash};
        map->count++;
    }
    slot->value = value;
    return is_new;
}

void map_free(Map *map)
{
    for (size_t i = 0; i < map->cap; i++)
        mem_free(map->slots[i].key);
    mem_free(map->slots);
    *map = (Map){0};
}
