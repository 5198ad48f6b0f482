/* Numbers as people read them. */
#ifndef CALC_FORMAT_H
#define CALC_FORMAT_H

#include "buf.h"
#include "common.h"

/* The shortest decimal that reads back as the same double; always with a point or exponent. */
void format_double(Buf *out, double value);

/* A fixed count of digits behind the point. */
void format_fixed(Buf *out, double value, int digits);

/* Digits in groups of three: -1234567.891 gives -1,234,567.891. */
void format_grouped(Buf *out, const char *number, char separator);

/* A string in quotes, with escapes. */
void format_quoted(Buf *out, const char *text, size_t len);

#endif
