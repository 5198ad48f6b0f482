/* calc: an expression calculator and small interpreter. */
#include <stdio.h>
#include <string.h>

#include "mem.h"
#include "run.h"
#include "selftest.h"

static const char usage[] =
    "usage: calc [--tree | --code] FILE     run a file (- for standard input), or show its tree or code\n"
    "       calc [--tree | --code] -e TEXT  the same for a text\n"
    "       calc --selftest                 check every part of calc\n"
    "       calc --version\n";

static bool read_all(FILE *file, Buf *out)
{
    char chunk[4096];
    size_t len;
    while ((len = fread(chunk, 1, sizeof chunk, file)) > 0)
        buf_add(out, chunk, len);
    return !ferror(file);
}

static bool read_file(const char *path, Buf *out)
{
    if (strcmp(path, "-") == 0)
        return read_all(stdin, out);
    FILE *file = fopen(path, "rb");
    if (!file)
        return false;
    bool is_read = read_all(file, out);
    fclose(file);
    return is_read;
}

static int finish(Buf *out, bool is_good)
{
    fwrite(buf_text(out), 1, out->len, is_good ? stdout : stderr);
    buf_free(out);
    return !is_good;
}

static int run(const char *name, const char *text, RunMode mode)
{
    Buf source = {0}, out = {0};
    if (text) {
        buf_adds(&source, text);
    } else if (!read_file(name, &source)) {
        fprintf(stderr, "calc: cannot read '%s'\n", name);
        buf_free(&source);
        return 2;
    }
    bool is_good = run_source(name, buf_text(&source), mode, &out);
    buf_free(&source);
    return finish(&out, is_good);
}

int main(int argc, char **argv)
{
    RunMode mode = RUN_PROGRAM;
    Buf out = {0};
    int at = 1;
    if (at < argc && strcmp(argv[at], "--selftest") == 0) {
        bool is_good = selftest(&out);
        return finish(&out, is_good);
    }
    if (at < argc && strcmp(argv[at], "--version") == 0) {
        puts("calc " CALC_VERSION);
        return 0;
    }
    if (at < argc && strcmp(argv[at], "--tree") == 0)
        mode = RUN_SHOW_TREE, at++;
    else if (at < argc && strcmp(argv[at], "--code") == 0)
        mode = RUN_SHOW_CODE, at++;
    if (at + 2 == argc && strcmp(argv[at], "-e") == 0)
        return run("text", argv[at + 1], mode);
    if (at + 1 == argc && (argv[at][0] != '-' || !argv[at][1]))
        return run(argv[at], NULL, mode);
    fputs(usage, stderr);
    return 2;
}
