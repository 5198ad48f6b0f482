#include "vm.h"

#include "mem.h"
#include "number.h"

enum { STACK_SIZE = 1 << 16, MAX_FRAMES = 4000 };

typedef struct {
    const Chunk *chunk;
    size_t at;
    size_t base;
} Frame;

typedef struct {
    const Program *program;
    Host *host;
    Error *error;
    Value *stack;
    size_t top;
    Value *globals;
    Frame *frames;
    int frame_count;
} Vm;

static void push(Vm *vm, Value value)
{
    vm->stack[vm->top++] = value;
}

static Value pop(Vm *vm)
{
    return vm->stack[--vm->top];
}

static void set(Value *place, Value value)
{
    value_drop(*place);
    *place = value;
}

/* Replaces the topmost values by one. */
static void replace(Vm *vm, int count, Value value)
{
    while (count--)
        value_drop(pop(vm));
    push(vm, value);
}

static Value concatenate(Value a, Value b)
{
    if (a.type == V_STR) {
        Buf text = {0};
        buf_add(&text, a.as.str->bytes, a.as.str->len);
        buf_add(&text, b.as.str->bytes, b.as.str->len);
        Value joined = value_str(buf_text(&text), text.len);
        buf_free(&text);
        return joined;
    }
    Value joined = value_list(a.as.list->len + b.as.list->len);
    Value *item = joined.as.list->items;
    for (size_t i = 0; i < a.as.list->len; i++)
        *item++ = value_keep(a.as.list->items[i]);
    for (size_t i = 0; i < b.as.list->len; i++)
        *item++ = value_keep(b.as.list->items[i]);
    return joined;
}

static const char *arithmetic(Vm *vm, Op op)
{
    Value b = vm->stack[vm->top - 1], a = vm->stack[vm->top - 2], result;
    if (op == OP_ADD && a.type == b.type && (a.type == V_STR || a.type == V_LIST)) {
        replace(vm, 2, concatenate(a, b));
        return NULL;
    }
    const char *wrong = number_binary(N_ADD + (op - OP_ADD), a, b, &result);
    if (!wrong)
        replace(vm, 2, result);
    return wrong;
}

static const char *comparison(Vm *vm, Op op)
{
    Value b = vm->stack[vm->top - 1], a = vm->stack[vm->top - 2];
    int order = 0;
    if (op == OP_EQUAL || op == OP_NOT_EQUAL) {
        replace(vm, 2, value_bool(value_equal(a, b) == (op == OP_EQUAL)));
        return NULL;
    }
    if (!value_compare(a, b, &order))
        return "these have no order";
    bool holds = op == OP_LESS ? order < 0 : op == OP_LESS_EQUAL ? order <= 0 : op == OP_GREATER ? order > 0 : order >= 0;
    replace(vm, 2, value_bool(holds));
    return NULL;
}

static const char *index_of(Vm *vm)
{
    Value index = vm->stack[vm->top - 1], list = vm->stack[vm->top - 2];
    int64_t at;
    if (list.type != V_LIST || !native_int(index, &at))
        return "a list and an int are needed";
    if (at < 0)
        at += (int64_t)list.as.list->len;
    if (at < 0 || (size_t)at >= list.as.list->len)
        return "the index is outside of the list";
    replace(vm, 2, value_keep(list.as.list->items[at]));
    return NULL;
}

/* Steps a loop: slots hold the list, the next index, and the item. False at the end. */
static const char *next(Value *slots, bool *is_done)
{
    if (slots[0].type != V_LIST)
        return "for goes over a list";
    const List *list = slots[0].as.list;
    *is_done = (size_t)slots[1].as.integer >= list->len;
    if (!*is_done)
        set(&slots[2], value_keep(list->items[slots[1].as.integer++]));
    return NULL;
}

static const char *call(Vm *vm, const Chunk *chunk)
{
    size_t base = vm->top - (size_t)chunk->params;
    if (vm->frame_count == MAX_FRAMES || base + (size_t)chunk->height > STACK_SIZE)
        return "the recursion is too deep";
    vm->frames[vm->frame_count++] = (Frame){.chunk = chunk, .base = base};
    return NULL;
}

static const char *call_native(Vm *vm, const Native *native, int count)
{
    Value result = value_nil();
    const char *wrong = native->call(vm->host, count, vm->stack + vm->top - count, &result);
    if (!wrong)
        replace(vm, count, result);
    return wrong;
}

static void show(Vm *vm)
{
    Value value = pop(vm);
    if (value.type != V_NIL) {
        value_format(value, true, vm->host->out);
        buf_addc(vm->host->out, '\n');
    }
    value_drop(value);
}

static void leave(Vm *vm)
{
    Value result = pop(vm);
    size_t base = vm->frames[--vm->frame_count].base;
    while (vm->top > base)
        value_drop(pop(vm));
    push(vm, result);
}

static void jump_unless(Frame *frame, bool condition, uint16_t target)
{
    if (!condition)
        frame->at = target;
}

/* One instruction; NULL, or what is wrong. */
static const char *step(Vm *vm, Frame *frame)
{
    Instruction code = frame->chunk->code[frame->at++];
    Value *slots = vm->stack + frame->base;
    Value value;
    bool flag;
    const char *wrong = NULL;
    switch ((Op)code.op) {
    case OP_CONSTANT: push(vm, value_keep(frame->chunk->constants[code.a])); break;
    case OP_POP: value_drop(pop(vm)); break;
    case OP_GET_LOCAL: push(vm, value_keep(slots[code.a])); break;
    case OP_SET_LOCAL: set(&slots[code.a], pop(vm)); break;
    case OP_GET_GLOBAL: push(vm, value_keep(vm->globals[code.a])); break;
    case OP_SET_GLOBAL: set(&vm->globals[code.a], pop(vm)); break;
    case OP_LIST:
        value = value_list(code.a);
        for (size_t i = code.a; i-- > 0;)
            value.as.list->items[i] = pop(vm);
        push(vm, value);
        break;
    case OP_INDEX: return index_of(vm);
    case OP_ADD: case OP_SUBTRACT: case OP_MULTIPLY: case OP_DIVIDE: case OP_DIVIDE_DOWN: case OP_REMAINDER:
    case OP_POWER: return arithmetic(vm, code.op);
    case OP_NEGATE:
        wrong = number_negate(vm->stack[vm->top - 1], &value);
        if (!wrong)
            replace(vm, 1, value);
        break;
    case OP_NOT: replace(vm, 1, value_bool(!value_is_true(vm->stack[vm->top - 1]))); break;
    case OP_EQUAL: case OP_NOT_EQUAL: case OP_LESS: case OP_LESS_EQUAL: case OP_GREATER: case OP_GREATER_EQUAL:
        return comparison(vm, code.op);
    case OP_JUMP: frame->at = code.a; break;
    case OP_JUMP_IF_FALSE:
        value = pop(vm);
        jump_unless(frame, value_is_true(value), code.a);
        value_drop(value);
        break;
    case OP_KEEP_IF_FALSE: jump_unless(frame, value_is_true(vm->stack[vm->top - 1]), code.a); break;
    case OP_KEEP_IF_TRUE: jump_unless(frame, !value_is_true(vm->stack[vm->top - 1]), code.a); break;
    case OP_NEXT:
        wrong = next(slots + code.b, &flag);
        if (!wrong)
            jump_unless(frame, !flag, code.a);
        break;
    case OP_CALL: return call(vm, &vm->program->chunks[code.a]);
    case OP_NATIVE: return call_native(vm, native_at(code.a), code.b);
    case OP_SHOW: show(vm); break;
    case OP_RETURN: leave(vm); break;
    }
    return wrong;
}

static void vm_free(Vm *vm)
{
    while (vm->top)
        value_drop(pop(vm));
    for (size_t i = 0; i < vm->program->globals.count; i++)
        value_drop(vm->globals[i]);
    mem_free(vm->globals);
    mem_free(vm->stack);
    mem_free(vm->frames);
}

bool vm_run(const Program *program, Host *host, Error *error)
{
    Vm vm = {.program = program, .host = host, .error = error};
    vm.stack = mem_alloc(STACK_SIZE * sizeof *vm.stack);
    vm.frames = mem_alloc(MAX_FRAMES * sizeof *vm.frames);
    vm.globals = mem_alloc(program->globals.count * sizeof *vm.globals);
    const char *wrong = call(&vm, &program->chunks[0]);
    if (wrong)
        error_set(error, (Place){1, 0}, "%s", wrong);
    while (!wrong && vm.frame_count) {
        Frame *frame = &vm.frames[vm.frame_count - 1];
        size_t at = frame->at;
        wrong = step(&vm, frame);
        if (wrong)
            error_set(error, frame->chunk->places[at], "%s", wrong);
    }
    vm_free(&vm);
    return !wrong;
}
