/* Checks every part of calc against known results. */
#ifndef CALC_SELFTEST_H
#define CALC_SELFTEST_H

#include "buf.h"
#include "common.h"

/* Writes each failure and a summary; true when nothing failed. */
bool selftest(Buf *out);

#endif
