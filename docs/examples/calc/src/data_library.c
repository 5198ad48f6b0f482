#include <math.h>

#include "csv.h"
#include "literal.h"
#include "mem.h"
#include "native.h"
#include "number.h"
#include "stats.h"

/* The sum keeps ints exact, so it adds values rather than doubles. */
static const char *sum(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    if (args[0].type != V_LIST)
        return "sum takes a list of numbers";
    Value total = value_int(0);
    for (size_t i = 0; i < args[0].as.list->len; i++) {
        Value next;
        const char *wrong = number_binary(N_ADD, total, args[0].as.list->items[i], &next);
        value_drop(total);
        if (wrong)
            return wrong;
        total = next;
    }
    *out = total;
    return NULL;
}

static const char *of_numbers(double (*function)(const double *, size_t), size_t least, const Value *args, Value *out)
{
    double *numbers;
    size_t count;
    if (!native_numbers(args[0], &numbers, &count))
        return "a list of numbers is needed";
    bool is_enough = count >= least;
    if (is_enough)
        *out = value_float(function(numbers, count));
    mem_free(numbers);
    return is_enough ? NULL : "the list has too few numbers";
}

static const char *mean(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    return of_numbers(stats_mean, 1, args, out);
}

static double deviation(const double *numbers, size_t count)
{
    return sqrt(stats_variance(numbers, count));
}

static const char *stdev(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    return of_numbers(deviation, 2, args, out);
}

static const char *percentile(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    double *numbers, percent = value_is_number(args[1]) ? value_to_double(args[1]) : -1;
    size_t size;
    if (!(percent >= 0 && percent <= 100))
        return "a percentile is from 0 to 100";
    if (!native_numbers(args[0], &numbers, &size))
        return "a list of numbers is needed";
    if (size) {
        stats_sort(numbers, size);
        *out = value_float(stats_percentile(numbers, size, percent));
    }
    mem_free(numbers);
    return size ? NULL : "the list is empty";
}

static const char *fit(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    double *x, *y, slope, offset;
    size_t size, other;
    if (!native_numbers(args[0], &x, &size))
        return "fit takes two lists of numbers";
    if (!native_numbers(args[1], &y, &other)) {
        mem_free(x);
        return "fit takes two lists of numbers";
    }
    bool is_fit = size == other && size > 1 && stats_fit(x, y, size, &slope, &offset);
    if (is_fit) {
        *out = value_list(2);
        out->as.list->items[0] = value_float(slope);
        out->as.list->items[1] = value_float(offset);
    }
    mem_free(x);
    mem_free(y);
    return is_fit ? NULL : "fit takes two lists of one length, with different numbers in the first";
}

static Value cell(const CsvField *field)
{
    Value number;
    return literal_parse(field->text, field->len, &number) ? number : value_str(field->text, field->len);
}

/* column(text, name): the values below a name in the first row of comma-separated text. */
static const char *column(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    if (args[0].type != V_STR || args[1].type != V_STR)
        return "column takes the text of a table and the name of a column";
    Csv csv;
    Error error = {0};
    const char *wrong = NULL;
    int index = -1;
    if (!csv_parse(args[0].as.str->bytes, args[0].as.str->len, &csv, &error))
        wrong = "this is not a table of comma-separated values";
    else if ((index = csv_column(&csv, args[1].as.str->bytes, args[1].as.str->len)) < 0)
        wrong = "the table has no such column";
    if (!wrong) {
        *out = value_list(csv.count - 1);
        for (size_t i = 1; i < csv.count; i++)
            if ((size_t)index < csv.rows[i].count)
                out->as.list->items[i - 1] = cell(&csv.rows[i].fields[index]);
    }
    csv_free(&csv);
    return wrong;
}

const Native data_library[] = {
    {"sum", 1, 1, sum}, {"mean", 1, 1, mean}, {"stdev", 1, 1, stdev}, {"percentile", 2, 2, percentile},
    {"fit", 2, 2, fit}, {"column", 2, 2, column}, {0},
};
