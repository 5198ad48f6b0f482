/* Magnitudes: what big integers do when signs are left aside. */
#ifndef CALC_BIGMAG_H
#define CALC_BIGMAG_H

#include "bigint.h"

Big mag_new(size_t len);
void mag_trim(Big *big);
int mag_compare(const Big *a, const Big *b);
Big mag_add(const Big *a, const Big *b);
Big mag_subtract(const Big *a, const Big *b); /* a is not less than b */
Big mag_multiply(const Big *a, const Big *b);
void mag_divide(const Big *a, const Big *b, Big *quotient, Big *remainder);

/* In place: times a factor plus a term; divided by a divisor, giving the remainder. */
void mag_scale(Big *big, uint32_t factor, uint32_t term);
uint32_t mag_shrink(Big *big, uint32_t divisor);

#endif
