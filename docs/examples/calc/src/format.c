#include "format.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void format_double(Buf *out, double value)
{
    char text[40];
    if (isnan(value) || isinf(value)) {
        buf_adds(out, isnan(value) ? "nan" : value < 0 ? "-inf" : "inf");
        return;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    buf_adds(out, text);
    if (!strpbrk(text, ".e"))
        buf_adds(out, ".0");
}

void format_fixed(Buf *out, double value, int digits)
{
    buf_addf(out, "%.*f", digits, value);
}

void format_grouped(Buf *out, const char *number, char separator)
{
    if (*number == '-')
        buf_addc(out, *number++);
    size_t whole = strspn(number, "0123456789");
    for (size_t i = 0; i < whole; i++) {
        if (i && (whole - i) % 3 == 0)
            buf_addc(out, separator);
        buf_addc(out, number[i]);
    }
    buf_adds(out, number + whole);
}

void format_quoted(Buf *out, const char *text, size_t len)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < len; i++) {
        switch (text[i]) {
        case '"': buf_adds(out, "\\\""); break;
        case '\\': buf_adds(out, "\\\\"); break;
        case '\n': buf_adds(out, "\\n"); break;
        case '\t': buf_adds(out, "\\t"); break;
        case '\r': buf_adds(out, "\\r"); break;
        default:
            if ((unsigned char)text[i] < 0x20)
                buf_addf(out, "\\x%02x", (unsigned)text[i]);
            else
                buf_addc(out, text[i]);
        }
    }
    buf_addc(out, '"');
}
