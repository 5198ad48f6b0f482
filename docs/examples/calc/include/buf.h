/* A string that grows. */
#ifndef CALC_BUF_H
#define CALC_BUF_H

#include "common.h"

typedef struct {
    char *data; /* NUL-terminated once anything was added */
    size_t len;
    size_t cap;
} Buf;

void buf_add(Buf *buf, const char *text, size_t len);
void buf_adds(Buf *buf, const char *text);
void buf_addc(Buf *buf, char c);
void buf_addf(Buf *buf, const char *format, ...) PRINTF_LIKE(2, 3);
void buf_reverse(Buf *buf, size_t from);
const char *buf_text(const Buf *buf);
void buf_clear(Buf *buf);
void buf_free(Buf *buf);

#endif
