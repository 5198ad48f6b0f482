#include <math.h>

#include "native.h"
#include "number.h"

static const char *of_real(double (*function)(double), const Value *args, Value *out)
{
    if (!value_is_number(args[0]))
        return "a number is needed";
    *out = value_float(function(value_to_double(args[0])));
    return NULL;
}

#define REAL(name)                                                                              \
    static const char *real_##name(Host *host, int count, const Value *args, Value *out)        \
    {                                                                                           \
        (void)host, (void)count;                                                                \
        return of_real(name, args, out);                                                        \
    }

REAL(sqrt)
REAL(exp)
REAL(log)
REAL(sin)
REAL(cos)
REAL(atan)

/* The integer nearest by a rule; what is an int already stays so, however large. */
static const char *of_whole(double (*rule)(double), const Value *args, Value *out)
{
    if (!value_is_number(args[0]))
        return "a number is needed";
    if (args[0].type != V_FLOAT) {
        *out = value_keep(args[0]);
        return NULL;
    }
    double whole = rule(args[0].as.real);
    if (!(fabs(whole) < 0x1p63))
        return "the number is too large to become an int";
    *out = value_int((int64_t)whole);
    return NULL;
}

#define WHOLE(name)                                                                             \
    static const char *whole_##name(Host *host, int count, const Value *args, Value *out)       \
    {                                                                                           \
        (void)host, (void)count;                                                                \
        return of_whole(name, args, out);                                                       \
    }

WHOLE(floor)
WHOLE(ceil)
WHOLE(round)

static const char *absolute(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    int order;
    if (!value_is_number(args[0]))
        return "a number is needed";
    value_compare(args[0], value_int(0), &order);
    if (order < 0)
        return number_negate(args[0], out);
    *out = value_keep(args[0]);
    return NULL;
}

static const char *extreme(int wanted, int count, const Value *args, Value *out)
{
    if (count == 1 && args[0].type == V_LIST) {
        count = (int)args[0].as.list->len;
        args = args[0].as.list->items;
    }
    if (!count)
        return "there is nothing to choose from";
    const Value *best = args;
    for (int i = 1; i < count; i++) {
        int order;
        if (!value_compare(args[i], *best, &order))
            return "these have no order";
        if (order == wanted)
            best = &args[i];
    }
    *out = value_keep(*best);
    return NULL;
}

static const char *least(Host *host, int count, const Value *args, Value *out)
{
    (void)host;
    return extreme(-1, count, args, out);
}

static const char *greatest(Host *host, int count, const Value *args, Value *out)
{
    (void)host;
    return extreme(1, count, args, out);
}

static const char *gcd(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    for (int i = 0; i < 2; i++)
        if (args[i].type != V_INT && args[i].type != V_BIG)
            return "gcd takes two ints";
    Big a = number_to_big(args[0]), b = number_to_big(args[1]);
    *out = value_big(big_gcd(&a, &b));
    big_free(&a);
    big_free(&b);
    return NULL;
}

const Native math_library[] = {
    {"sqrt", 1, 1, real_sqrt}, {"exp", 1, 1, real_exp}, {"ln", 1, 1, real_log}, {"sin", 1, 1, real_sin},
    {"cos", 1, 1, real_cos}, {"atan", 1, 1, real_atan}, {"floor", 1, 1, whole_floor},
    {"ceil", 1, 1, whole_ceil}, {"round", 1, 1, whole_round}, {"abs", 1, 1, absolute},
    {"min", 1, 255, least}, {"max", 1, 255, greatest}, {"gcd", 2, 2, gcd}, {0},
};
