#include "bigint.h"

#include <math.h>
#include <string.h>

#include "bigmag.h"
#include "mem.h"

Big big_from_int(int64_t value)
{
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    Big big = mag_new(2);
    big.limbs[0] = (uint32_t)rest;
    big.limbs[1] = (uint32_t)(rest >> 32);
    mag_trim(&big);
    big.is_negative = value < 0;
    return big;
}

bool big_to_int(const Big *big, int64_t *value)
{
    if (big->len > 2)
        return false;
    uint64_t rest = 0;
    for (size_t i = big->len; i-- > 0;)
        rest = rest << 32 | big->limbs[i];
    if (rest > (uint64_t)INT64_MAX + big->is_negative)
        return false;
    *value = big->is_negative ? (int64_t)(0 - rest) : (int64_t)rest;
    return true;
}

static uint32_t limb_at(const Big *big, size_t from_top)
{
    return from_top < big->len ? big->limbs[big->len - 1 - from_top] : 0;
}

/* The highest 64 bits, with the lowest of them set if anything follows: so it is rounded once. */
double big_to_double(const Big *big)
{
    if (!big->len)
        return 0;
    int shift = __builtin_clz(limb_at(big, 0));
    uint64_t third = (uint64_t)limb_at(big, 2) << shift;
    uint64_t top = ((uint64_t)limb_at(big, 0) << 32 | limb_at(big, 1)) << shift | third >> 32;
    bool is_more = (uint32_t)third != 0;
    for (size_t i = 3; i < big->len; i++)
        is_more = is_more || limb_at(big, i);
    double value = ldexp((double)(top | is_more), ((int)big->len - 2) * 32 - shift);
    return big->is_negative ? -value : value;
}

Big big_copy(const Big *big)
{
    Big copy = mag_new(big->len);
    if (big->len)
        memcpy(copy.limbs, big->limbs, big->len * sizeof *big->limbs);
    copy.is_negative = big->is_negative;
    return copy;
}

void big_free(Big *big)
{
    mem_free(big->limbs);
    *big = (Big){0};
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'Z')
        return c - 'A' + 10;
    return 99;
}

bool big_parse(Big *out, const char *digits, size_t len, unsigned base)
{
    Big value = mag_new(len / 4 + 2);
    value.len = 0;
    for (size_t i = 0; i < len; i++) {
        int digit = digit_value(digits[i]);
        if (digits[i] == '_')
            continue;
        if (digit >= (int)base) {
            big_free(&value);
            return false;
        }
        mag_scale(&value, base, (uint32_t)digit);
    }
    *out = value;
    return true;
}

void big_format(const Big *big, Buf *out, unsigned base)
{
    if (!big->len) {
        buf_addc(out, '0');
        return;
    }
    if (big->is_negative)
        buf_addc(out, '-');
    size_t from = out->len;
    uint32_t chunk = base;
    int width = 1;
    for (; (uint64_t)chunk * base <= UINT32_MAX; chunk *= base)
        width++;
    Big rest = big_copy(big);
    while (rest.len) {
        uint32_t part = mag_shrink(&rest, chunk);
        for (int i = 0; i < width && (part || rest.len); i++, part /= base)
            buf_addc(out, "0123456789abcdefghijklmnopqrstuvwxyz"[part % base]);
    }
    buf_reverse(out, from);
    big_free(&rest);
}

int big_compare(const Big *a, const Big *b)
{
    if (a->is_negative != b->is_negative)
        return a->is_negative ? -1 : 1;
    int order = mag_compare(a, b);
    return a->is_negative ? -order : order;
}

static Big add_signed(const Big *a, const Big *b, bool b_is_negative)
{
    Big sum;
    if (a->is_negative == b_is_negative) {
        sum = mag_add(a, b);
        sum.is_negative = a->is_negative;
    } else if (mag_compare(a, b) >= 0) {
        sum = mag_subtract(a, b);
        sum.is_negative = a->is_negative;
    } else {
        sum = mag_subtract(b, a);
        sum.is_negative = b_is_negative;
    }
    sum.is_negative = sum.is_negative && sum.len;
    return sum;
}

Big big_add(const Big *a, const Big *b)
{
    return add_signed(a, b, b->is_negative);
}

Big big_subtract(const Big *a, const Big *b)
{
    return add_signed(a, b, !b->is_negative);
}

Big big_multiply(const Big *a, const Big *b)
{
    Big product = mag_multiply(a, b);
    product.is_negative = product.len && a->is_negative != b->is_negative;
    return product;
}

Big big_power(const Big *base, uint32_t exponent)
{
    Big result = big_from_int(1);
    Big square = big_copy(base);
    for (; exponent; exponent >>= 1) {
        if (exponent & 1) {
            Big next = big_multiply(&result, &square);
            big_free(&result);
            result = next;
        }
        if (exponent > 1) {
            Big next = big_multiply(&square, &square);
            big_free(&square);
            square = next;
        }
    }
    big_free(&square);
    return result;
}

void big_divide(const Big *a, const Big *b, Big *quotient, Big *remainder)
{
    mag_divide(a, b, quotient, remainder);
    bool differ = a->is_negative != b->is_negative;
    if (differ && remainder->len) {
        Big rest = mag_subtract(b, remainder);
        big_free(remainder);
        *remainder = rest;
        mag_scale(quotient, 1, 1);
    }
    quotient->is_negative = differ && quotient->len;
    remainder->is_negative = b->is_negative && remainder->len;
}

Big big_gcd(const Big *a, const Big *b)
{
    Big x = big_copy(a), y = big_copy(b);
    x.is_negative = y.is_negative = false;
    while (y.len) {
        Big quotient, rest;
        mag_divide(&x, &y, &quotient, &rest);
        big_free(&quotient);
        big_free(&x);
        x = y;
        y = rest;
    }
    big_free(&y);
    return x;
}
