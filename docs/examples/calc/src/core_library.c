#include <stdlib.h>
#include <string.h>

#include "native.h"
#include "utf8.h"

enum { MAX_LIST = 1 << 24 };

static const char *print(Host *host, int count, const Value *args, Value *out)
{
    for (int i = 0; i < count; i++) {
        if (i)
            buf_addc(host->out, ' ');
        value_format(args[i], false, host->out);
    }
    buf_addc(host->out, '\n');
    *out = value_nil();
    return NULL;
}

static const char *len(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    if (args[0].type == V_STR)
        *out = value_int((int64_t)utf8_count(args[0].as.str->bytes, args[0].as.str->len));
    else if (args[0].type == V_LIST)
        *out = value_int((int64_t)args[0].as.list->len);
    else
        return "len takes a string or a list";
    return NULL;
}

static const char *type(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    const char *name = value_type_name(args[0]);
    *out = value_str(name, strlen(name));
    return NULL;
}

static const char *push(Host *host, int count, const Value *args, Value *out)
{
    (void)host;
    if (args[0].type != V_LIST)
        return "push takes a list first";
    size_t old = args[0].as.list->len;
    Value list = value_list(old + (size_t)count - 1);
    for (size_t i = 0; i < old; i++)
        list.as.list->items[i] = value_keep(args[0].as.list->items[i]);
    for (int i = 1; i < count; i++)
        list.as.list->items[old + (size_t)i - 1] = value_keep(args[i]);
    *out = list;
    return NULL;
}

/* range(end), range(start, end), range(start, end, step) */
static const char *range(Host *host, int count, const Value *args, Value *out)
{
    (void)host;
    int64_t start = 0, end = 0, step = 1;
    bool are_ints = native_int(args[count > 1], &end);
    are_ints = are_ints && (count < 2 || native_int(args[0], &start)) && (count < 3 || native_int(args[2], &step));
    if (!are_ints || step == 0)
        return "range takes ints, and a step that is not 0";
    uint64_t distance = step > 0 ? (uint64_t)end - (uint64_t)start : (uint64_t)start - (uint64_t)end;
    uint64_t stride = step > 0 ? (uint64_t)step : 0 - (uint64_t)step;
    uint64_t items = (step > 0) == (end > start) && end != start ? (distance - 1) / stride + 1 : 0;
    if (items > MAX_LIST)
        return "range would be too long";
    Value list = value_list((size_t)items);
    for (size_t i = 0; i < items; i++)
        list.as.list->items[i] = value_int(start + (int64_t)i * step);
    *out = list;
    return NULL;
}

static const char *slice(Host *host, int count, const Value *args, Value *out)
{
    (void)host;
    int64_t from, to = INT64_MAX;
    if (!native_int(args[1], &from) || (count > 2 && !native_int(args[2], &to)) || from < 0 || to < from)
        return "slice takes a start and an end, both ints and not negative";
    if (args[0].type == V_STR) {
        const Str *str = args[0].as.str;
        size_t first = utf8_offset(str->bytes, str->len, (size_t)from);
        size_t last = utf8_offset(str->bytes, str->len, (size_t)to);
        *out = value_str(str->bytes + first, last - first);
        return NULL;
    }
    if (args[0].type != V_LIST)
        return "slice takes a string or a list first";
    const List *list = args[0].as.list;
    size_t first = (size_t)from < list->len ? (size_t)from : list->len;
    size_t last = (size_t)to < list->len ? (size_t)to : list->len;
    *out = value_list(last - first);
    for (size_t i = first; i < last; i++)
        out->as.list->items[i - first] = value_keep(list->items[i]);
    return NULL;
}

static int by_order(const void *a, const void *b)
{
    int order = 0;
    value_compare(*(const Value *)a, *(const Value *)b, &order);
    return order;
}

static const char *sort(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    if (args[0].type != V_LIST)
        return "sort takes a list";
    const List *list = args[0].as.list;
    int order;
    for (size_t i = 1; i < list->len; i++)
        if (!value_compare(list->items[0], list->items[i], &order))
            return "sort takes numbers only, or strings only";
    Value sorted = value_list(list->len);
    for (size_t i = 0; i < list->len; i++)
        sorted.as.list->items[i] = value_keep(list->items[i]);
    qsort(sorted.as.list->items, list->len, sizeof(Value), by_order);
    *out = sorted;
    return NULL;
}

static const char *seed(Host *host, int count, const Value *args, Value *out)
{
    (void)count;
    int64_t number;
    if (!native_int(args[0], &number))
        return "seed takes an int";
    host->rng.state = (uint64_t)number;
    *out = value_nil();
    return NULL;
}

/* random(): from 0 to below 1; random(n): an int from 0 to below n. */
static const char *random_number(Host *host, int count, const Value *args, Value *out)
{
    int64_t limit;
    if (!count)
        *out = value_float(rng_unit(&host->rng));
    else if (native_int(args[0], &limit) && limit > 0)
        *out = value_int((int64_t)rng_below(&host->rng, (uint64_t)limit));
    else
        return "random takes an int above 0";
    return NULL;
}

const Native core_library[] = {
    {"print", 0, 255, print}, {"len", 1, 1, len}, {"type", 1, 1, type}, {"push", 2, 255, push},
    {"range", 1, 3, range}, {"slice", 2, 3, slice}, {"sort", 1, 1, sort}, {"seed", 1, 1, seed},
    {"random", 0, 1, random_number}, {0},
};
