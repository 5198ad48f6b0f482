#include "literal.h"

#include <stdlib.h>
#include <string.h>

#include "mem.h"
#include "utf8.h"

static bool parse_integer(const char *text, size_t len, unsigned base, Value *out)
{
    Big big;
    if (!len || !big_parse(&big, text, len, base))
        return false;
    *out = value_big(big);
    return true;
}

static bool parse_real(const char *text, size_t len, Value *out)
{
    char *copy = mem_copy(text, len), *end;
    *out = value_float(strtod(copy, &end));
    bool is_whole = len && end == copy + len;
    mem_free(copy);
    return is_whole;
}

Value literal_number(const Token *token, Error *error)
{
    Value value = value_nil();
    const char *text = token->text;
    bool has_base = token->len > 2 && text[0] == '0' && strchr("xXbB", text[1]);
    bool is_read;
    if (has_base)
        is_read = parse_integer(text + 2, token->len - 2, text[1] == 'x' || text[1] == 'X' ? 16 : 2, &value);
    else if (strcspn(text, ".eE") < token->len)
        is_read = parse_real(text, token->len, &value);
    else
        is_read = parse_integer(text, token->len, 10, &value);
    if (is_read)
        return value;
    error_set(error, token->place, "'%.*s' is not a number", (int)token->len, text);
    return value_nil();
}

/* Reads the escape behind a backslash; how many bytes it takes, 0 when there is no such one. */
static size_t read_escape(const char *text, Buf *out)
{
    static const char from[] = "nrt0\\\"", to[] = "\n\r\t\0\\\"";
    const char *known = strchr(from, text[0]);
    if (text[0] && known) {
        buf_addc(out, to[known - from]);
        return 1;
    }
    if (text[0] != 'u' || text[1] != '{')
        return 0;
    char *end, bytes[4];
    unsigned long point = strtoul(text + 2, &end, 16);
    size_t len = *end == '}' && point <= 0x10FFFF ? utf8_encode((uint32_t)point, bytes) : 0;
    buf_add(out, bytes, len);
    return len ? (size_t)(end + 1 - text) : 0;
}

Value literal_string(const Token *token, Error *error)
{
    Buf text = {0};
    const char *at = token->text + 1, *end = token->text + token->len - 1;
    while (at < end) {
        size_t len = 1;
        if (*at != '\\')
            buf_addc(&text, *at);
        else if ((len = read_escape(++at, &text)) == 0)
            break;
        at += len;
    }
    Value value = value_nil();
    if (at < end)
        error_set(error, token->place, "an unknown escape '\\%c' in a string", *at);
    else if (!utf8_is_valid(buf_text(&text), text.len))
        error_set(error, token->place, "a string that is not valid UTF-8");
    else
        value = value_str(buf_text(&text), text.len);
    buf_free(&text);
    return value;
}

bool literal_parse(const char *text, size_t len, Value *out)
{
    size_t sign = len && (text[0] == '-' || text[0] == '+');
    if (len == sign)
        return false;
    for (size_t i = sign; i < len; i++)
        if (!memchr("0123456789", text[i], 10))
            return memchr("0123456789.eE+-", text[i], 15) && parse_real(text, len, out);
    Big big;
    big_parse(&big, text + sign, len - sign, 10);
    big.is_negative = text[0] == '-' && big.len;
    *out = value_big(big);
    return true;
}
