/* Source text to output: what main and the self-test share. */
#ifndef CALC_RUN_H
#define CALC_RUN_H

#include "buf.h"
#include "common.h"

typedef enum { RUN_PROGRAM, RUN_SHOW_TREE, RUN_SHOW_CODE } RunMode;

/* Runs a source; what it prints, or its error, goes to `out`. False on an error. */
bool run_source(const char *name, const char *source, RunMode mode, Buf *out);

#endif
