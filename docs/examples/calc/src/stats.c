#include "stats.h"

#include <math.h>
#include <stdlib.h>

/* Neumaier's variant of Kahan summation: A. Neumaier, ZAMM 54 (1974). */
double stats_sum(const double *numbers, size_t count)
{
    double sum = 0, lost = 0;
    for (size_t i = 0; i < count; i++) {
        double next = sum + numbers[i];
        lost += fabs(sum) >= fabs(numbers[i]) ? (sum - next) + numbers[i] : (numbers[i] - next) + sum;
        sum = next;
    }
    return sum + lost;
}

double stats_mean(const double *numbers, size_t count)
{
    return stats_sum(numbers, count) / (double)count;
}

/* Welford, Technometrics 4 (1962): one pass, no cancellation. */
double stats_variance(const double *numbers, size_t count)
{
    double mean = 0, spread = 0;
    for (size_t i = 0; i < count; i++) {
        double delta = numbers[i] - mean;
        mean += delta / (double)(i + 1);
        spread += delta * (numbers[i] - mean);
    }
    return spread / (double)(count - 1);
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void stats_sort(double *numbers, size_t count)
{
    qsort(numbers, count, sizeof *numbers, by_value);
}

double stats_percentile(const double *sorted, size_t count, double percent)
{
    double at = percent / 100 * (double)(count - 1);
    size_t low = (size_t)at;
    if (low + 1 >= count)
        return sorted[count - 1];
    return sorted[low] + (at - (double)low) * (sorted[low + 1] - sorted[low]);
}

bool stats_fit(const double *x, const double *y, size_t count, double *slope, double *offset)
{
    double mean_x = stats_mean(x, count), mean_y = stats_mean(y, count);
    double spread = 0, product = 0;
    for (size_t i = 0; i < count; i++) {
        spread += (x[i] - mean_x) * (x[i] - mean_x);
        product += (x[i] - mean_x) * (y[i] - mean_y);
    }
    if (spread == 0)
        return false;
    *slope = product / spread;
    *offset = mean_y - *slope * mean_x;
    return true;
}
