/* The shortest way of `vcache cc`: what `lean.py` does on a hit, without starting an interpreter.
 *
 * Compiled on demand by the very compiler that is wrapped (see `launching.py`, which puts in front of
 * this file: PYTHON, ENTRY, HEEDED), and only ever a short cut: on any doubt it becomes the interpreter,
 * which asks `lean.py` and then the cache. It must not know more of a record than `lean.py` does.
 * The layout of a record is in docs/design/build.md.
 */
#define _GNU_SOURCE
#define _DARWIN_C_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#ifdef __APPLE__
#define st_mtim st_mtimespec
#define st_ctim st_ctimespec
#define DEFAULT_DIR "/Library/Caches/vcache"
#else
#define DEFAULT_DIR "/.cache/vcache"
#endif

enum { MAGIC_BYTES = 8, SEAL_BYTES = 16, LENGTHS_BYTES = 12, HEAD_BYTES = 36, DAY_S = 86400 };
static const char magic[] = "vcc-rec\x01";
static const uint64_t keys[2] = {0x7663616368652D31u, 0x7663616368652D32u};
static const char *const heeded[] = {HEEDED};
extern char **environ;

static char **words; /* the compiler and its arguments */
static const char *fallback; /* what knows more, where the caller said so */
static char *home_of_records(void);
static char *find_compiler(const char *name, const char *home);

/* --- what hashes ------------------------------------------------------------------------------ */

/* SipHash-1-3 with the key (key, 0): CPython's `_imp.source_hash`. J.-P. Aumasson and D. J. Bernstein,
 * "SipHash: a fast short-input PRF", 2012. */
#define ROTATE(x, b) (((x) << (b)) | ((x) >> (64 - (b))))
#define ROUND(a, b, c, d) \
    (a += b, c += d, b = ROTATE(b, 13) ^ a, d = ROTATE(d, 16) ^ c, a = ROTATE(a, 32), \
     c += b, a += d, b = ROTATE(b, 17) ^ c, d = ROTATE(d, 21) ^ a, c = ROTATE(c, 32))

static uint64_t load64(const unsigned char *at) {
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--) word = word << 8 | at[i];
    return word;
}

static uint64_t siphash(uint64_t key, const unsigned char *data, size_t length) {
    uint64_t a = key ^ 0x736f6d6570736575u, b = 0x646f72616e646f6du;
    uint64_t c = key ^ 0x6c7967656e657261u, d = 0x7465646279746573u;
    uint64_t last = (uint64_t)length << 56;
    for (; length >= 8; data += 8, length -= 8) {
        uint64_t word = load64(data);
        d ^= word, ROUND(a, b, c, d), a ^= word;
    }
    for (size_t i = 0; i < length; i++) last |= (uint64_t)data[i] << (8 * i);
    d ^= last, ROUND(a, b, c, d), a ^= last;
    c ^= 0xff, ROUND(a, b, c, d), ROUND(a, b, c, d), ROUND(a, b, c, d);
    return a ^ b ^ c ^ d;
}

static void seal(const unsigned char *data, size_t length, unsigned char *into) {
    for (int k = 0; k < 2; k++) {
        uint64_t hash = siphash(keys[k], data, length);
        for (int i = 0; i < 8; i++) into[8 * k + i] = (unsigned char)(hash >> (8 * i));
    }
}

/* --- what ends it ----------------------------------------------------------------------------- */

/* Become what knows more: the command that the caller named, else the interpreter that this was made
 * for; where that is gone, the compiler. */
static void doubt(void) {
    static int is_last;
    const char *const start[] = {PYTHON, "-I", "-S", "-c", ENTRY}, *const named[] = {fallback, "cc"};
    size_t count = 0, first = fallback ? 2 : 5;
    while (words[count]) count++;
    const char **argv = malloc((count + first + 1) * sizeof *argv);
    if (!argv || is_last) _exit(126);
    is_last = 1;
    memcpy(argv, fallback ? named : start, first * sizeof *argv);
    memcpy(argv + first, words, (count + 1) * sizeof *argv);
    execv(argv[0], (char *const *)argv);
    if (count && words[0][0] != '-') {
        words[0] = find_compiler(words[0], home_of_records()); /* by its path, as `running` has it */
        execv(words[0], words);
    }
    fprintf(stderr, "vcache cc: %s: %s\n", argv[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

static void *need(void *memory) {
    if (!memory) doubt();
    return memory;
}

/* --- a growing buffer ------------------------------------------------------------------------- */

typedef struct {
    unsigned char *data;
    size_t length, room;
} Buffer;

static void add(Buffer *buffer, const void *data, size_t length) {
    if (buffer->length + length > buffer->room) {
        buffer->room = 2 * (buffer->length + length) + 4096;
        buffer->data = need(realloc(buffer->data, buffer->room));
    }
    memcpy(buffer->data + buffer->length, data, length);
    buffer->length += length;
}

static void add_field(Buffer *buffer, const char *text) {
    if (buffer->length) add(buffer, "", 1);
    add(buffer, text, strlen(text));
}

/* --- what is asked: `lean.request` ------------------------------------------------------------ */

static char *join(const char *a, const char *b, const char *c) {
    char *text = need(malloc(strlen(a) + strlen(b) + strlen(c) + 1));
    return strcat(strcat(strcpy(text, a), b), c);
}

static char *find_compiler(const char *name, const char *home) {
    char *passed_over = join(home, "/launchers", "");
    if (strchr(name, '/')) return (char *)name;
    const char *path = getenv("PATH");
    for (path = path ? path : "/bin:/usr/bin";; path++) {
        size_t length = strcspn(path, ":");
        char *place = need(strndup(length ? path : ".", length ? length : 1));
        char *found = join(place, "/", name);
        struct stat status;
        if (strcmp(place, passed_over) && !access(found, X_OK) && !stat(found, &status) && S_ISREG(status.st_mode))
            return found;
        path += length;
        if (!*path) doubt();
    }
}

static int is_heeded(const char *pair) {
    size_t length = strcspn(pair, "=");
    if (!strncmp(pair, "VCACHE_", 7)) return length != 13 || strncmp(pair, "VCACHE_CC_LOG", 13);
    for (size_t i = 0; i < sizeof heeded / sizeof *heeded; i++)
        if (!strncmp(pair, heeded[i], length) && !heeded[i][length]) return 1;
    return 0;
}

static int compare(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int is_cpu_fact(const char *line) {
    static const char *const facts[] = {CPU_FACTS};
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (!strncmp(line, facts[i], strlen(facts[i]))) return 1;
    return 0;
}

/* `lean.cpu`, as one more field. */
static void add_cpu(Buffer *asked) {
    char first[16385];
    int fd = open("/proc/cpuinfo", O_RDONLY | O_CLOEXEC), is_first = 1;
    ssize_t got = fd < 0 ? 0 : read(fd, first, sizeof first - 1);
    if (fd >= 0) close(fd);
    if (got < 0) doubt();
    first[got] = 0;
    char *end = strstr(first, "\n\n");
    if (end) *end = 0;
    add_field(asked, "");
    for (char *line = first; line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = 0;
        if (!is_cpu_fact(line)) continue;
        if (!is_first) add(asked, "\n", 1);
        add(asked, line, strlen(line));
        is_first = 0;
    }
}

static Buffer request(const char *cwd, const char *home) {
    Buffer asked = {0};
    add_field(&asked, find_compiler(words[0], home));
    add_field(&asked, cwd);
    for (char **word = words; *word; word++) add_field(&asked, *word);
    add_field(&asked, "");
    add_field(&asked, isatty(2) ? "tty" : "");
    size_t count = 0, taken = 0;
    while (environ[count]) count++;
    const char **pairs = need(malloc((count + 1) * sizeof *pairs));
    for (size_t i = 0; i < count; i++)
        if (is_heeded(environ[i])) pairs[taken++] = environ[i];
    qsort(pairs, taken, sizeof *pairs, compare);
    for (size_t i = 0; i < taken; i++) add_field(&asked, pairs[i]);
    const char *pwd = getenv("PWD");
    if (pwd && *pwd && strcmp(pwd, cwd)) add_field(&asked, join("PWD=", pwd, ""));
    for (char **word = words; *word; word++)
        if (strstr(*word, "=native")) {
            add_cpu(&asked);
            break;
        }
    return asked;
}

static char *home_of_records(void) {
    const char *named = getenv("VCACHE_DIR"), *user = getenv("HOME");
    if (named && *named) {
        if (*named == '~') doubt();
        return join(named, "/cc", "");
    }
#ifndef __APPLE__
    const char *caches = getenv("XDG_CACHE_HOME");
    if (caches && *caches) {
        if (*caches == '~') doubt();
        return join(caches, "/vcache", "/cc");
    }
#endif
    if (!user || !*user || *user == '~') doubt();
    return join(user, DEFAULT_DIR, "/cc");
}

/* --- a record --------------------------------------------------------------------------------- */

static Buffer content(const char *path, struct stat *status) {
    Buffer found = {0};
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, status)) doubt();
    found.room = (size_t)status->st_size;
    found.data = need(malloc(found.room + 1));
    while (found.length < found.room) {
        ssize_t got = read(fd, found.data + found.length, found.room - found.length);
        if (got <= 0) doubt();
        found.length += (size_t)got;
    }
    close(fd);
    return found;
}

static uint32_t load32(const unsigned char *at) {
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static const char *table, *table_end;

static const char *field(void) {
    const char *found = table;
    if (table >= table_end) doubt();
    table += strlen(table) + 1; /* the table is followed by a NUL */
    return found;
}

static size_t number(void) {
    char *end;
    const char *text = field();
    unsigned long long value = strtoull(text, &end, 10);
    if (!*text || *end) doubt();
    return (size_t)value;
}

static void look_at_files(void) {
    for (size_t left = number(); left; left--) {
        const char *path = field(), *known = field();
        char seen[96];
        struct stat status;
        field();
        if (stat(path, &status)) doubt();
        snprintf(seen, sizeof seen, "%" PRIu64 " %" PRId64 " %" PRId64 " %" PRId64, (uint64_t)status.st_ino,
                 (int64_t)status.st_size, (int64_t)status.st_mtim.tv_sec * 1000000000 + status.st_mtim.tv_nsec,
                 (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec);
        if (strcmp(seen, known)) doubt();
    }
    for (size_t left = number(); left; left--)
        if (!access(field(), F_OK)) doubt();
}

/* --- an answer -------------------------------------------------------------------------------- */

static int write_all(int fd, const unsigned char *data, size_t length) {
    while (length) {
        ssize_t put = write(fd, data, length);
        if (put < 0) return 0;
        data += put, length -= (size_t)put;
    }
    return 1;
}

static void write_file(const char *path, const unsigned char *data, size_t length) {
    struct stat status;
    char number[32];
    if (!lstat(path, &status) && !S_ISREG(status.st_mode)) doubt();
    snprintf(number, sizeof number, ".%ld.vcc", (long)getpid());
    char *temporary = join(path, number, "");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (fd < 0) doubt();
    int is_whole = write_all(fd, data, length);
    if (close(fd) || !is_whole || rename(temporary, path)) {
        unlink(temporary);
        doubt();
    }
    free(temporary);
}

static void count(const char *home, const char *event) {
    int fd = open(join(home, "/counts", ""), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        write_all(fd, (const unsigned char *)event, strlen(event));
        close(fd);
    }
}

static char *record_path(const char *home, Buffer asked) {
    unsigned char name[SEAL_BYTES];
    char hex[2 * SEAL_BYTES + 3] = "/";
    seal(asked.data, asked.length, name);
    for (int i = 0, at = 1; i < SEAL_BYTES; i++) at += sprintf(hex + at, i ? "%02x" : "%02x/", name[i]);
    return join(home, hex, "");
}

static void answer(const char *home) {
    Buffer asked = request(need(getcwd(NULL, 0)), home);
    char *path = record_path(home, asked);
    unsigned char sum[SEAL_BYTES];
    struct stat status;
    Buffer record = content(path, &status);
    if (status.st_uid != geteuid()) doubt();
    if (record.length < HEAD_BYTES || memcmp(record.data, magic, MAGIC_BYTES)) doubt();
    unsigned char *rest = record.data + MAGIC_BYTES + SEAL_BYTES;
    seal(rest, record.length - MAGIC_BYTES - SEAL_BYTES, sum);
    if (memcmp(sum, record.data + MAGIC_BYTES, SEAL_BYTES)) doubt();
    size_t lengths[3];
    for (int i = 0; i < 3; i++) lengths[i] = load32(rest + 4 * i);
    if (lengths[0] + lengths[1] + lengths[2] != record.length - HEAD_BYTES) doubt();
    if (lengths[0] != asked.length || memcmp(record.data + HEAD_BYTES, asked.data, asked.length)) doubt();

    Buffer fields = {0};
    add(&fields, record.data + HEAD_BYTES + lengths[0], lengths[1]);
    add(&fields, "", 1);
    table = (const char *)fields.data, table_end = table + fields.length;
    const unsigned char *blob = record.data + HEAD_BYTES + lengths[0] + lengths[1];
    const unsigned char *end = record.data + record.length;
    look_at_files();
    for (size_t left = number(); left; left--) {
        const char *out = field();
        size_t length = number();
        if (length > (size_t)(end - blob)) doubt();
        write_file(out, blob, length);
        blob += length;
    }
    for (size_t left = number(); left; left--) {
        int stream = (int)number();
        size_t length = number();
        if (length > (size_t)(end - blob) || stream < 1 || stream > 2) break;
        write_all(stream, blob, length);
        blob += length;
    }
    /* What is used stays, when old records are swept away. */
    if (time(NULL) - status.st_mtim.tv_sec > DAY_S) utimes(path, NULL);
}

/* `lean._may_compile` */
static int may_compile(void) {
    for (char **word = words; *word; word++)
        if (!strcmp(*word, "-c") || !strcmp(*word, "-S") || **word == '@') return 1;
    return 0;
}

/* As `vcache-cc…`: [--vcache-fallback=COMMAND] [--vcache-name] COMPILER ARGS; by any other name, as the
 * compiler of that name. */
int main(int argc, char **argv) {
    const char *slash = strrchr(argv[0], '/'), *name = slash ? slash + 1 : argv[0];
    int tells_name = 0;
    words = argv;
    if (strncmp(name, "vcache", 6))
        words[0] = (char *)name;
    else
        for (words++; *words && !strncmp(*words, "--vcache-", 9); words++) {
            if (!strncmp(*words, "--vcache-fallback=", 18)) fallback = *words + 18;
            tells_name |= !strcmp(*words, "--vcache-name");
        }
    if (argc < 2 || !*words || **words == '-' || getenv("VCACHE_CC_LOG") || getenv("VCACHE_DISABLE")) doubt();
    char *home = home_of_records();
    if (tells_name) {
        puts(record_path(home, request(need(getcwd(NULL, 0)), home)));
        return 0;
    }
    if (!may_compile() && !access(home, W_OK)) {
        char *program = find_compiler(words[0], home);
        count(home, "raw nothing is compiled\n");
        words[0] = program;
        execv(program, words);
        doubt();
    }
    answer(home);
    count(home, "hit\n");
    return 0;
}
