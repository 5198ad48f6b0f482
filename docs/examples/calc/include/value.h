/* Values of the language. They never change, so sharing one is counting one more reference. */
#ifndef CALC_VALUE_H
#define CALC_VALUE_H

#include "bigint.h"
#include "buf.h"
#include "common.h"

typedef enum { V_NIL, V_BOOL, V_INT, V_FLOAT, V_BIG, V_STR, V_LIST } ValueType;

typedef struct { int refs; Big big; } BigObj;
typedef struct { int refs; size_t len; char bytes[]; } Str;
typedef struct List List;

typedef struct {
    ValueType type;
    union {
        bool boolean;
        int64_t integer;
        double real;
        BigObj *big; /* never what fits an int64_t */
        Str *str;
        List *list;
    } as;
} Value;

struct List {
    int refs;
    size_t len;
    Value items[];
};

Value value_nil(void);
Value value_bool(bool boolean);
Value value_int(int64_t integer);
Value value_float(double real);
Value value_big(Big big); /* takes it over; gives a V_INT when it fits */
Value value_str(const char *text, size_t len);
Value value_list(size_t len); /* of nils, to be filled before it is shared */

Value value_keep(Value value);
void value_drop(Value value);

const char *value_type_name(Value value);
bool value_is_number(Value value);
bool value_is_true(Value value);
double value_to_double(Value value);
bool value_equal(Value a, Value b);

/* -1, 0 or 1; false when the two have no order. */
bool value_compare(Value a, Value b, int *order);

/* As the language writes it; strings in quotes only inside of lists, or where asked for. */
void value_format(Value value, bool is_quoted, Buf *out);

#endif
