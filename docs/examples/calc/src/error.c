#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void error_set(Error *error, Place place, const char *format, ...)
{
    if (error->is_set)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(error->text, sizeof error->text, format, args);
    va_end(args);
    error->is_set = true;
    error->place = place;
}

static const char *line_start(const char *source, int line)
{
    while (line > 1) {
        const char *end = strchr(source, '\n');
        if (!end)
            return source + strlen(source);
        source = end + 1;
        line--;
    }
    return source;
}

void error_show(const Error *error, const char *name, const char *source, Buf *out)
{
    buf_addf(out, "%s:%d", name, error->place.line);
    if (error->place.column)
        buf_addf(out, ":%d", error->place.column);
    buf_addf(out, ": error: %s\n", error->text);
    if (!error->place.column)
        return;
    const char *line = line_start(source, error->place.line);
    buf_addf(out, "  %.*s\n  ", (int)strcspn(line, "\n"), line);
    for (int i = 1; i < error->place.column; i++)
        buf_addc(out, ' ');
    buf_adds(out, "^\n");
}
