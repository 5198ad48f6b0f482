/* Integers of any size: a sign and limbs of 32 bits, the lowest first. */
#ifndef CALC_BIGINT_H
#define CALC_BIGINT_H

#include "buf.h"
#include "common.h"

typedef struct {
    bool is_negative;
    size_t len; /* 0 for zero; the highest limb is never 0 */
    uint32_t *limbs;
} Big;

Big big_from_int(int64_t value);
bool big_to_int(const Big *big, int64_t *value);
double big_to_double(const Big *big);
Big big_copy(const Big *big);
void big_free(Big *big);

/* Reads digits, without a sign; false when one does not belong to the base. */
bool big_parse(Big *out, const char *digits, size_t len, unsigned base);
void big_format(const Big *big, Buf *out, unsigned base);

int big_compare(const Big *a, const Big *b);
Big big_add(const Big *a, const Big *b);
Big big_subtract(const Big *a, const Big *b);
Big big_multiply(const Big *a, const Big *b);
Big big_power(const Big *base, uint32_t exponent);

/* Division that rounds down, as a person expects of a remainder. `b` is not zero. */
void big_divide(const Big *a, const Big *b, Big *quotient, Big *remainder);
Big big_gcd(const Big *a, const Big *b);

#endif
