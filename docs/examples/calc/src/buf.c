#include "buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "mem.h"

static void reserve(Buf *buf, size_t more)
{
    if (buf->cap - buf->len > more)
        return;
    buf->cap = mem_grown(buf->cap, buf->len + more + 1);
    buf->data = mem_resize(buf->data, buf->cap);
}

void buf_add(Buf *buf, const char *text, size_t len)
{
    reserve(buf, len);
    if (len)
        memcpy(buf->data + buf->len, text, len);
    buf->len += len;
    buf->data[buf->len] = '\0';
}

void buf_adds(Buf *buf, const char *text)
{
    buf_add(buf, text, strlen(text));
}

void buf_addc(Buf *buf, char c)
{
    buf_add(buf, &c, 1);
}

void buf_addf(Buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (len > 0) {
        reserve(buf, (size_t)len);
        vsnprintf(buf->data + buf->len, (size_t)len + 1, format, again);
        buf->len += (size_t)len;
    }
    va_end(again);
}

void buf_reverse(Buf *buf, size_t from)
{
    for (size_t a = from, b = buf->len; a + 1 < b; a++) {
        char c = buf->data[a];
        buf->data[a] = buf->data[--b];
        buf->data[b] = c;
    }
}

const char *buf_text(const Buf *buf)
{
    return buf->data ? buf->data : "";
}

void buf_clear(Buf *buf)
{
    buf->len = 0;
    if (buf->data)
        buf->data[0] = '\0';
}

void buf_free(Buf *buf)
{
    mem_free(buf->data);
    *buf = (Buf){0};
}
