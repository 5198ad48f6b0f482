#include "run.h"

#include "compiler.h"
#include "parser.h"
#include "vm.h"

static void show_code(const Program *program, Buf *out)
{
    for (size_t i = 0; i < program->chunk_count; i++)
        chunk_format(&program->chunks[i], out);
}

bool run_source(const char *name, const char *source, RunMode mode, Buf *out)
{
    Ast ast = {0};
    Program program = {0};
    Error error = {0};
    Host host = {.out = out, .rng = {.state = 1}};
    const Node *tree = parse(&ast, source, &error);
    if (tree && mode == RUN_SHOW_TREE) {
        ast_format(tree, out);
        buf_addc(out, '\n');
    } else if (tree && compile(tree, &program, &error)) {
        if (mode == RUN_SHOW_CODE)
            show_code(&program, out);
        else
            vm_run(&program, &host, &error);
    }
    program_free(&program);
    ast_free(&ast);
    if (error.is_set)
        error_show(&error, name, source, out);
    return !error.is_set;
}
