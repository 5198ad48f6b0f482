/* UTF-8: counting, checking, one code point at a time. */
#ifndef CALC_UTF8_H
#define CALC_UTF8_H

#include "common.h"

/* Decodes the code point at `text`; its length in bytes, or 0 when it is not valid UTF-8. */
size_t utf8_decode(const char *text, size_t len, uint32_t *point);

/* Encodes into `out`, which holds 4 bytes; the length, or 0 for what is no code point. */
size_t utf8_encode(uint32_t point, char *out);

bool utf8_is_valid(const char *text, size_t len);
size_t utf8_count(const char *text, size_t len);

/* The byte offset of a character; `len` when there are fewer. */
size_t utf8_offset(const char *text, size_t len, size_t index);

#endif
