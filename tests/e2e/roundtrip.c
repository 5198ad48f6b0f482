/* Compresses a text with the library that was built, and reads it back. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "zstd.h"

enum { SIZE = 1 << 20 };

int main(void)
{
    char *text = malloc(SIZE), *again = malloc(SIZE);
    size_t room = ZSTD_compressBound(SIZE);
    char *packed = malloc(room);
    if (!text || !again || !packed)
        return 3;
    unsigned state = 1;
    for (size_t i = 0; i < SIZE; i++) {
        state = state * 1103515245u + 12345u;
        text[i] = "etaoin shrdlu"[(state >> 16) % (i % 64 < 32 ? 3 : 13)];
    }
    size_t packed_size = ZSTD_compress(packed, room, text, SIZE, 3);
    if (ZSTD_isError(packed_size))
        return 1;
    size_t size = ZSTD_decompress(again, SIZE, packed, packed_size);
    if (size != SIZE || memcmp(text, again, SIZE) != 0)
        return 2;
    printf("zstd %s: %d bytes came back\n", ZSTD_versionString(), SIZE);
    free(text);
    free(again);
    free(packed);
    return packed_size < SIZE / 2 ? 0 : 4;
}
