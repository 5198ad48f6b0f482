/* Reads comma-separated values as RFC 4180 describes them. */
#ifndef CALC_CSV_H
#define CALC_CSV_H

#include "common.h"
#include "error.h"
#include "mem.h"

typedef struct { const char *text; size_t len; } CsvField;
typedef struct { CsvField *fields; size_t count; } CsvRow;

typedef struct {
    CsvRow *rows;
    size_t count;
    Arena arena;
} Csv;

/* False, with the error set, for a quote that is not closed or text behind a closing one. */
bool csv_parse(const char *text, size_t len, Csv *csv, Error *error);

/* The index of a column by the name in the first row, or -1. */
int csv_column(const Csv *csv, const char *name, size_t len);
void csv_free(Csv *csv);

#endif
