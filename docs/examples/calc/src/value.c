#include "value.h"

#include <string.h>

#include "format.h"
#include "mem.h"

Value value_nil(void)
{
    return (Value){.type = V_NIL};
}

Value value_bool(bool boolean)
{
    return (Value){.type = V_BOOL, .as.boolean = boolean};
}

Value value_int(int64_t integer)
{
    return (Value){.type = V_INT, .as.integer = integer};
}

Value value_float(double real)
{
    return (Value){.type = V_FLOAT, .as.real = real};
}

Value value_big(Big big)
{
    int64_t small;
    if (big_to_int(&big, &small)) {
        big_free(&big);
        return value_int(small);
    }
    BigObj *object = mem_alloc(sizeof *object);
    *object = (BigObj){.refs = 1, .big = big};
    return (Value){.type = V_BIG, .as.big = object};
}

Value value_str(const char *text, size_t len)
{
    Str *str = mem_alloc(sizeof *str + len + 1);
    str->refs = 1;
    str->len = len;
    if (len)
        memcpy(str->bytes, text, len);
    return (Value){.type = V_STR, .as.str = str};
}

Value value_list(size_t len)
{
    List *list = mem_alloc(sizeof *list + len * sizeof *list->items);
    list->refs = 1;
    list->len = len;
    for (size_t i = 0; i < len; i++)
        list->items[i] = value_nil();
    return (Value){.type = V_LIST, .as.list = list};
}

Value value_keep(Value value)
{
    switch (value.type) {
    case V_BIG: value.as.big->refs++; break;
    case V_STR: value.as.str->refs++; break;
    case V_LIST: value.as.list->refs++; break;
    default: break;
    }
    return value;
}

static void drop_list(List *list)
{
    if (--list->refs)
        return;
    for (size_t i = 0; i < list->len; i++)
        value_drop(list->items[i]);
    mem_free(list);
}

void value_drop(Value value)
{
    switch (value.type) {
    case V_BIG:
        if (!--value.as.big->refs) {
            big_free(&value.as.big->big);
            mem_free(value.as.big);
        }
        break;
    case V_STR:
        if (!--value.as.str->refs)
            mem_free(value.as.str);
        break;
    case V_LIST: drop_list(value.as.list); break;
    default: break;
    }
}

const char *value_type_name(Value value)
{
    static const char *const names[] = {"nil", "bool", "int", "float", "int", "string", "list"};
    return names[value.type];
}

bool value_is_number(Value value)
{
    return value.type == V_INT || value.type == V_BIG || value.type == V_FLOAT;
}

bool value_is_true(Value value)
{
    switch (value.type) {
    case V_NIL: return false;
    case V_BOOL: return value.as.boolean;
    case V_INT: return value.as.integer != 0;
    case V_FLOAT: return value.as.real != 0;
    case V_STR: return value.as.str->len != 0;
    case V_LIST: return value.as.list->len != 0;
    case V_BIG: return true;
    }
    return false;
}

double value_to_double(Value value)
{
    if (value.type == V_INT)
        return (double)value.as.integer;
    return value.type == V_BIG ? big_to_double(&value.as.big->big) : value.as.real;
}

static int compare_numbers(Value a, Value b)
{
    if (a.type == V_INT && b.type == V_INT)
        return (a.as.integer > b.as.integer) - (a.as.integer < b.as.integer);
    if (a.type == V_FLOAT || b.type == V_FLOAT) {
        double x = value_to_double(a), y = value_to_double(b);
        return (x > y) - (x < y);
    }
    if (a.type == V_BIG && b.type == V_BIG)
        return big_compare(&a.as.big->big, &b.as.big->big);
    /* One fits an int64_t and the other does not: its sign decides. */
    if (a.type == V_BIG)
        return a.as.big->big.is_negative ? -1 : 1;
    return b.as.big->big.is_negative ? 1 : -1;
}

static int compare_strings(const Str *a, const Str *b)
{
    int order = memcmp(a->bytes, b->bytes, a->len < b->len ? a->len : b->len);
    if (order)
        return order < 0 ? -1 : 1;
    return (a->len > b->len) - (a->len < b->len);
}

static bool lists_equal(const List *a, const List *b)
{
    if (a->len != b->len)
        return false;
    for (size_t i = 0; i < a->len; i++)
        if (!value_equal(a->items[i], b->items[i]))
            return false;
    return true;
}

bool value_equal(Value a, Value b)
{
    if (value_is_number(a) && value_is_number(b)) {
        bool is_nan = (a.type == V_FLOAT && a.as.real != a.as.real) || (b.type == V_FLOAT && b.as.real != b.as.real);
        return !is_nan && compare_numbers(a, b) == 0;
    }
    if (a.type != b.type)
        return false;
    switch (a.type) {
    case V_BOOL: return a.as.boolean == b.as.boolean;
    case V_STR: return compare_strings(a.as.str, b.as.str) == 0;
    case V_LIST: return lists_equal(a.as.list, b.as.list);
    default: return true;
    }
}

bool value_compare(Value a, Value b, int *order)
{
    if (value_is_number(a) && value_is_number(b)) {
        *order = compare_numbers(a, b);
        return true;
    }
    if (a.type == V_STR && b.type == V_STR) {
        *order = compare_strings(a.as.str, b.as.str);
        return true;
    }
    return false;
}

static void format_list(const List *list, Buf *out)
{
    buf_addc(out, '[');
    for (size_t i = 0; i < list->len; i++) {
        if (i)
            buf_adds(out, ", ");
        value_format(list->items[i], true, out);
    }
    buf_addc(out, ']');
}

void value_format(Value value, bool is_quoted, Buf *out)
{
    switch (value.type) {
    case V_NIL: buf_adds(out, "nil"); break;
    case V_BOOL: buf_adds(out, value.as.boolean ? "true" : "false"); break;
    case V_INT: buf_addf(out, "%lld", (long long)value.as.integer); break;
    case V_FLOAT: format_double(out, value.as.real); break;
    case V_BIG: big_format(&value.as.big->big, out, 10); break;
    case V_LIST: format_list(value.as.list, out); break;
    case V_STR:
        if (is_quoted)
            format_quoted(out, value.as.str->bytes, value.as.str->len);
        else
            buf_add(out, value.as.str->bytes, value.as.str->len);
        break;
    }
}
