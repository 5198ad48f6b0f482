#include "number.h"

#include <math.h>

enum { MAX_BITS = 1 << 22 };

Big number_to_big(Value value)
{
    return value.type == V_INT ? big_from_int(value.as.integer) : big_copy(&value.as.big->big);
}

static bool small_binary(NumberOp op, int64_t a, int64_t b, Value *out)
{
    int64_t result;
    switch (op) {
    case N_ADD:
        if (__builtin_add_overflow(a, b, &result))
            return false;
        break;
    case N_SUBTRACT:
        if (__builtin_sub_overflow(a, b, &result))
            return false;
        break;
    case N_MULTIPLY:
        if (__builtin_mul_overflow(a, b, &result))
            return false;
        break;
    case N_DIVIDE_DOWN:
    case N_REMAINDER: {
        if (b == -1) /* INT64_MIN / -1 does not fit */
            return false;
        int64_t rest = a % b;
        bool is_below = rest && (rest < 0) != (b < 0);
        result = op == N_REMAINDER ? rest + (is_below ? b : 0) : a / b - is_below;
        break;
    }
    default: return false;
    }
    *out = value_int(result);
    return true;
}

static const char *big_binary(NumberOp op, const Big *a, const Big *b, Value *out)
{
    Big quotient, remainder;
    switch (op) {
    case N_ADD: *out = value_big(big_add(a, b)); break;
    case N_SUBTRACT: *out = value_big(big_subtract(a, b)); break;
    case N_MULTIPLY: *out = value_big(big_multiply(a, b)); break;
    case N_POWER: {
        int64_t exponent;
        if (!big_to_int(b, &exponent) || exponent > MAX_BITS || (int64_t)a->len * 32 * exponent > MAX_BITS)
            return "the power is too large";
        *out = value_big(big_power(a, (uint32_t)exponent));
        break;
    }
    default:
        big_divide(a, b, &quotient, &remainder);
        *out = value_big(op == N_REMAINDER ? remainder : quotient);
        big_free(op == N_REMAINDER ? &quotient : &remainder);
    }
    return NULL;
}

static const char *float_binary(NumberOp op, double a, double b, Value *out)
{
    double result = 0;
    switch (op) {
    case N_ADD: result = a + b; break;
    case N_SUBTRACT: result = a - b; break;
    case N_MULTIPLY: result = a * b; break;
    case N_DIVIDE: result = a / b; break;
    case N_DIVIDE_DOWN: result = floor(a / b); break;
    case N_REMAINDER: result = a - b * floor(a / b); break;
    case N_POWER: result = pow(a, b); break;
    }
    *out = value_float(result);
    return NULL;
}

static bool is_negative(Value value)
{
    return value.type == V_INT ? value.as.integer < 0 : value.as.big->big.is_negative;
}

const char *number_binary(NumberOp op, Value a, Value b, Value *out)
{
    if (!value_is_number(a) || !value_is_number(b))
        return "numbers are needed";
    bool divides = op == N_DIVIDE || op == N_DIVIDE_DOWN || op == N_REMAINDER;
    if (divides && !value_is_true(b))
        return "division by zero";
    bool is_exact = a.type != V_FLOAT && b.type != V_FLOAT && op != N_DIVIDE;
    if (!is_exact || (op == N_POWER && is_negative(b)))
        return float_binary(op, value_to_double(a), value_to_double(b), out);
    if (a.type == V_INT && b.type == V_INT && small_binary(op, a.as.integer, b.as.integer, out))
        return NULL;
    Big x = number_to_big(a), y = number_to_big(b);
    const char *wrong = big_binary(op, &x, &y, out);
    big_free(&x);
    big_free(&y);
    return wrong;
}

const char *number_negate(Value value, Value *out)
{
    if (value.type == V_FLOAT) {
        *out = value_float(-value.as.real);
        return NULL;
    }
    return number_binary(N_SUBTRACT, value_int(0), value, out);
}
