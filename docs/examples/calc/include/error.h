/* One error with its place in the source, and how it is shown to a person. */
#ifndef CALC_ERROR_H
#define CALC_ERROR_H

#include "buf.h"
#include "common.h"

typedef struct {
    int line; /* from 1 */
    int column; /* from 1, in characters; 0 when only the line is known */
} Place;

typedef struct {
    bool is_set;
    Place place;
    char text[200];
} Error;

/* Keeps the first error: what follows from it only hides the cause. */
void error_set(Error *error, Place place, const char *format, ...) PRINTF_LIKE(3, 4);

/* `name:line:column: error: text`, the source line, and a caret below the column. */
void error_show(const Error *error, const char *name, const char *source, Buf *out);

#endif
