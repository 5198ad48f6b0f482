/* What every file of calc needs: fixed-width types and the compiler's help. */
#ifndef CALC_COMMON_H
#define CALC_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CALC_VERSION "1.0"

#if defined(__GNUC__)
#define PRINTF_LIKE(text, first) __attribute__((format(printf, text, first)))
#define NORETURN __attribute__((noreturn))
#else
#define PRINTF_LIKE(text, first)
#define NORETURN
#endif

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

#endif
