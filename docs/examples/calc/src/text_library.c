#include <ctype.h>
#include <string.h>

#include "format.h"
#include "literal.h"
#include "mem.h"
#include "native.h"
#include "number.h"

static Value taken(Buf *text)
{
    Value value = value_str(buf_text(text), text->len);
    buf_free(text);
    return value;
}

static const char *str(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    Buf text = {0};
    value_format(args[0], false, &text);
    *out = taken(&text);
    return NULL;
}

static const char *num(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    if (args[0].type != V_STR || !literal_parse(args[0].as.str->bytes, args[0].as.str->len, out))
        return "this is not the text of a number";
    return NULL;
}

static const char *with_case(int (*change)(int), const Value *args, Value *out)
{
    if (args[0].type != V_STR)
        return "a string is needed";
    *out = value_str(args[0].as.str->bytes, args[0].as.str->len);
    for (size_t i = 0; i < out->as.str->len; i++) {
        char *c = &out->as.str->bytes[i];
        if ((unsigned char)*c < 0x80)
            *c = (char)change((unsigned char)*c);
    }
    return NULL;
}

static const char *upper(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    return with_case(toupper, args, out);
}

static const char *lower(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    return with_case(tolower, args, out);
}

static const char *find_in(const char *text, const char *end, const Str *part)
{
    for (; (size_t)(end - text) >= part->len; text++)
        if (memcmp(text, part->bytes, part->len) == 0)
            return text;
    return NULL;
}

static const char *split(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    if (args[0].type != V_STR || args[1].type != V_STR || !args[1].as.str->len)
        return "split takes a string and a separator";
    const char *text = args[0].as.str->bytes, *end = text + args[0].as.str->len;
    const Str *separator = args[1].as.str;
    size_t parts = 1;
    for (const char *at = text; (at = find_in(at, end, separator)); at += separator->len)
        parts++;
    *out = value_list(parts);
    for (size_t i = 0; i < parts; i++) {
        const char *at = find_in(text, end, separator);
        const char *stop = at ? at : end;
        out->as.list->items[i] = value_str(text, (size_t)(stop - text));
        text = stop + separator->len;
    }
    return NULL;
}

static const char *join(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    if (args[0].type != V_LIST || args[1].type != V_STR)
        return "join takes a list and a separator";
    Buf text = {0};
    for (size_t i = 0; i < args[0].as.list->len; i++) {
        if (i)
            buf_add(&text, args[1].as.str->bytes, args[1].as.str->len);
        value_format(args[0].as.list->items[i], false, &text);
    }
    *out = taken(&text);
    return NULL;
}

/* base(n, b): the digits of an int in a base from 2 to 36. */
static const char *base(Host *host, int count, const Value *args, Value *out)
{
    (void)host, (void)count;
    int64_t radix;
    bool is_int = args[0].type == V_INT || args[0].type == V_BIG;
    if (!is_int || !native_int(args[1], &radix) || radix < 2 || radix > 36)
        return "base takes an int and a base from 2 to 36";
    Big big = number_to_big(args[0]);
    Buf text = {0};
    big_format(&big, &text, (unsigned)radix);
    big_free(&big);
    *out = taken(&text);
    return NULL;
}

/* fixed(x, digits): rounded, and in groups of three when a separator is given. */
static const char *fixed(Host *host, int count, const Value *args, Value *out)
{
    (void)host;
    int64_t digits;
    if (!value_is_number(args[0]) || !native_int(args[1], &digits) || digits < 0 || digits > 100)
        return "fixed takes a number and a count of digits up to 100";
    if (count > 2 && (args[2].type != V_STR || args[2].as.str->len != 1))
        return "fixed takes a separator of one character";
    Buf plain = {0}, grouped = {0};
    format_fixed(&plain, value_to_double(args[0]), (int)digits);
    if (count < 3) {
        *out = taken(&plain);
        return NULL;
    }
    format_grouped(&grouped, buf_text(&plain), args[2].as.str->bytes[0]);
    buf_free(&plain);
    *out = taken(&grouped);
    return NULL;
}

const Native text_library[] = {
    {"str", 1, 1, str}, {"num", 1, 1, num}, {"upper", 1, 1, upper}, {"lower", 1, 1, lower},
    {"split", 2, 2, split}, {"join", 2, 2, join}, {"base", 2, 2, base}, {"fixed", 2, 3, fixed}, {0},
};
