/* Statistics over numbers in memory. */
#ifndef CALC_STATS_H
#define CALC_STATS_H

#include "common.h"

double stats_sum(const double *numbers, size_t count); /* compensated */
double stats_mean(const double *numbers, size_t count);
double stats_variance(const double *numbers, size_t count); /* of a sample: over count - 1 */
void stats_sort(double *numbers, size_t count);

/* Between the two nearest of sorted numbers, linearly; `percent` from 0 to 100. */
double stats_percentile(const double *sorted, size_t count, double percent);

/* The line y = slope * x + offset of least squares; false when every x is the same. */
bool stats_fit(const double *x, const double *y, size_t count, double *slope, double *offset);

#endif
