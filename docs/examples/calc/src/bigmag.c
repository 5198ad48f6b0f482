#include "bigmag.h"

#include "mem.h"

Big mag_new(size_t len)
{
    return (Big){.len = len, .limbs = mem_alloc((len + 1) * sizeof(uint32_t))};
}

void mag_trim(Big *big)
{
    while (big->len && !big->limbs[big->len - 1])
        big->len--;
}

int mag_compare(const Big *a, const Big *b)
{
    if (a->len != b->len)
        return a->len < b->len ? -1 : 1;
    for (size_t i = a->len; i-- > 0;)
        if (a->limbs[i] != b->limbs[i])
            return a->limbs[i] < b->limbs[i] ? -1 : 1;
    return 0;
}

Big mag_add(const Big *a, const Big *b)
{
    if (a->len < b->len) {
        const Big *swapped = a;
        a = b;
        b = swapped;
    }
    Big sum = mag_new(a->len + 1);
    uint64_t carry = 0;
    for (size_t i = 0; i < a->len; i++) {
        carry += (uint64_t)a->limbs[i] + (i < b->len ? b->limbs[i] : 0);
        sum.limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    sum.limbs[a->len] = (uint32_t)carry;
    mag_trim(&sum);
    return sum;
}

Big mag_subtract(const Big *a, const Big *b)
{
    Big rest = mag_new(a->len);
    uint32_t borrow = 0;
    for (size_t i = 0; i < a->len; i++) {
        uint64_t take = (uint64_t)(i < b->len ? b->limbs[i] : 0) + borrow;
        borrow = a->limbs[i] < take;
        rest.limbs[i] = (uint32_t)(a->limbs[i] - take);
    }
    mag_trim(&rest);
    return rest;
}

Big mag_multiply(const Big *a, const Big *b)
{
    Big product = mag_new(a->len + b->len);
    for (size_t i = 0; i < a->len; i++) {
        uint64_t carry = 0;
        for (size_t j = 0; j < b->len; j++) {
            carry += (uint64_t)a->limbs[i] * b->limbs[j] + product.limbs[i + j];
            product.limbs[i + j] = (uint32_t)carry;
            carry >>= 32;
        }
        product.limbs[i + b->len] = (uint32_t)carry;
    }
    mag_trim(&product);
    return product;
}

void mag_scale(Big *big, uint32_t factor, uint32_t term)
{
    uint64_t carry = term;
    for (size_t i = 0; i < big->len; i++) {
        carry += (uint64_t)big->limbs[i] * factor;
        big->limbs[i] = (uint32_t)carry;
        carry >>= 32;
    }
    if (carry) {
        big->limbs = mem_resize(big->limbs, (big->len + 2) * sizeof *big->limbs);
        big->limbs[big->len++] = (uint32_t)carry;
    }
}

uint32_t mag_shrink(Big *big, uint32_t divisor)
{
    uint64_t rest = 0;
    for (size_t i = big->len; i-- > 0;) {
        rest = rest << 32 | big->limbs[i];
        big->limbs[i] = (uint32_t)(rest / divisor);
        rest %= divisor;
    }
    mag_trim(big);
    return (uint32_t)rest;
}

static Big shifted(const Big *big, int bits, size_t len)
{
    Big out = mag_new(len);
    uint32_t carry = 0;
    for (size_t i = 0; i < big->len; i++) {
        out.limbs[i] = big->limbs[i] << bits | carry;
        carry = bits ? big->limbs[i] >> (32 - bits) : 0;
    }
    if (big->len < len)
        out.limbs[big->len] = carry;
    return out;
}

/* Subtracts digit * v from the limbs at u; what was borrowed beyond the highest of them. */
static bool subtract_scaled(uint32_t *u, const Big *v, uint64_t digit)
{
    uint64_t carry = 0, borrow = 0;
    for (size_t i = 0; i <= v->len; i++) {
        carry += i < v->len ? digit * v->limbs[i] : 0;
        uint64_t take = (uint32_t)carry + borrow;
        borrow = u[i] < take;
        u[i] = (uint32_t)(u[i] - take);
        carry >>= 32;
    }
    return borrow;
}

static void add_back(uint32_t *u, const Big *v)
{
    uint64_t carry = 0;
    for (size_t i = 0; i <= v->len; i++) {
        carry += (uint64_t)u[i] + (i < v->len ? v->limbs[i] : 0);
        u[i] = (uint32_t)carry;
        carry >>= 32;
    }
}

/* Knuth, The Art of Computer Programming, vol. 2, 4.3.1, algorithm D. */
static void divide_long(const Big *a, const Big *b, Big *quotient, Big *remainder)
{
    int bits = __builtin_clz(b->limbs[b->len - 1]);
    Big u = shifted(a, bits, a->len + 1);
    Big v = shifted(b, bits, b->len);
    size_t n = v.len;
    uint64_t high = v.limbs[n - 1], next = v.limbs[n - 2];
    *quotient = mag_new(a->len - n + 1);
    for (size_t j = a->len - n + 1; j-- > 0;) {
        uint64_t top = (uint64_t)u.limbs[j + n] << 32 | u.limbs[j + n - 1];
        uint64_t digit = top / high, rest = top % high;
        while (digit >> 32 || digit * next > (rest << 32 | u.limbs[j + n - 2])) {
            digit--;
            rest += high;
            if (rest >> 32)
                break;
        }
        if (subtract_scaled(u.limbs + j, &v, digit)) {
            digit--;
            add_back(u.limbs + j, &v);
        }
        quotient->limbs[j] = (uint32_t)digit;
    }
    mag_trim(quotient);
    mag_trim(&u);
    for (size_t i = 0; i < u.len; i++) {
        uint64_t pair = u.limbs[i] | (uint64_t)(i + 1 < u.len ? u.limbs[i + 1] : 0) << 32;
        u.limbs[i] = (uint32_t)(pair >> bits);
    }
    mag_trim(&u);
    *remainder = u;
    big_free(&v);
}

void mag_divide(const Big *a, const Big *b, Big *quotient, Big *remainder)
{
    if (mag_compare(a, b) < 0) {
        *quotient = mag_new(0);
        *remainder = big_copy(a);
        remainder->is_negative = false;
    } else if (b->len == 1) {
        *quotient = big_copy(a);
        quotient->is_negative = false;
        *remainder = big_from_int(mag_shrink(quotient, b->limbs[0]));
    } else {
        divide_long(a, b, quotient, remainder);
    }
}
