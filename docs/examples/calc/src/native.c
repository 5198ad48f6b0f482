#include "native.h"

#include <string.h>

#include "mem.h"

static const Native *const libraries[] = {core_library, math_library, text_library, data_library};

int native_find(const char *name)
{
    int index = 0;
    for (size_t i = 0; i < COUNT_OF(libraries); i++)
        for (const Native *native = libraries[i]; native->name; native++, index++)
            if (strcmp(native->name, name) == 0)
                return index;
    return -1;
}

const Native *native_at(int index)
{
    for (size_t i = 0; i < COUNT_OF(libraries); i++)
        for (const Native *native = libraries[i]; native->name; native++)
            if (index-- == 0)
                return native;
    return NULL;
}

bool native_int(Value value, int64_t *out)
{
    *out = value.as.integer;
    return value.type == V_INT;
}

bool native_numbers(Value list, double **numbers, size_t *count)
{
    if (list.type != V_LIST)
        return false;
    *count = list.as.list->len;
    *numbers = mem_alloc(*count * sizeof **numbers);
    for (size_t i = 0; i < *count; i++) {
        Value item = list.as.list->items[i];
        if (!value_is_number(item)) {
            mem_free(*numbers);
            return false;
        }
        (*numbers)[i] = value_to_double(item);
    }
    return true;
}
