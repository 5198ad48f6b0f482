#include "selftest.h"

#include <string.h>

#include "bigint.h"
#include "csv.h"
#include "format.h"
#include "map.h"
#include "rng.h"
#include "run.h"
#include "stats.h"
#include "utf8.h"

typedef struct {
    Buf *out;
    int checks, failures;
    uint32_t sum; /* of all that was printed: two builds that differ in one digit show it */
} Report;

typedef struct { const char *source, *printed; } Case;

static const Case programs[] = {
    {"1 + 2 * 3", "7\n"},
    {"(1 + 2) * 3 - -4", "13\n"},
    {"2 ^ 3 ^ 2; -2 ^ 2; 2 ^ -1; 0.5 ^ 2", "512\n-4\n0.5\n0.25\n"},
    {"7 // 2; -7 // 2; 7 % -3; -7 % 3; 7 / 2; 7.5 // 2", "3\n-4\n-2\n2\n3.5\n3.0\n"},
    {"9223372036854775807 + 1; -9223372036854775808 - 1", "9223372036854775808\n-9223372036854775809\n"},
    {"2 ^ 200 // 3 ^ 50 % 1000003; (2 ^ 64) * 0; 2 ^ 64 - 2 ^ 64 + 5", "494970\n0\n5\n"},
    {"2 ^ 100; 10 ^ 30 / 10 ^ 20; (2 ^ 64 + 1) / 3; -(2 ^ 63)", "1267650600228229401496703205376\n10000000000.0\n6.148914691236517e+18\n-9223372036854775808\n"},
    {"0xff + 0b1010 + 1_000", "1265\n"},
    {"0.1 + 0.2; 1e21; 1.5e-7; 100.0; 1 / 3", "0.30000000000000004\n1e+21\n1.5e-07\n100.0\n0.3333333333333333\n"},
    {"1 == 1.0; 1 < 2 and 2 < 1; not nil or 0; \"a\" < \"b\"; [1, 2] == [1, 2.0]", "true\nfalse\ntrue\ntrue\ntrue\n"},
    {"nil and 1; 0 or \"x\"", "\"x\"\n"},
    {"let x = 3; x = x * x; x", "9\n"},
    {"fn fact(n) { if n < 2 { return 1; } return n * fact(n - 1); } fact(30)", "265252859812191058636308480000000\n"},
    {"fn even(n) { if n == 0 { return true; } return odd(n - 1); }"
     "fn odd(n) { if n == 0 { return false; } return even(n - 1); } even(1000)", "true\n"},
    {"fn fib(n) { let a = 0; let b = 1; for i in range(n) { let c = a + b; a = b; b = c; } return a; } fib(100)",
     "354224848179261915075\n"},
    {"fn none() { } none(); print(none())", "nil\n"},
    {"let n = 27; let steps = 0; while n != 1 { if n % 2 == 0 { n = n // 2; } else { n = 3 * n + 1; }"
     "steps = steps + 1; } steps", "111\n"},
    {"let found = nil; for i in range(2, 100) { let ok = true; for j in range(2, i) { if j * j > i { break; }"
     "if i % j == 0 { ok = false; break; } } if not ok { continue; } found = i; } found", "97\n"},
    {"let l = [1, [2, \"x\"], nil]; l[1][0]; l[-1]; push(l, 4); l + [5]; len(l)",
     "2\n[1, [2, \"x\"], nil, 4]\n[1, [2, \"x\"], nil, 5]\n3\n"},
    {"sort([3, 1.5, 2]); sort([\"b\", \"a\"]); min(3, 1, 2); max([4, 9, 2])", "[1.5, 2, 3]\n[\"a\", \"b\"]\n1\n9\n"},
    {"range(3); range(3, 0, -1); range(0, 10, 4); range(5, 5)", "[0, 1, 2]\n[3, 2, 1]\n[0, 4, 8]\n[]\n"},
    {"\"gr\\u{fc}n\" + \"\\t\\\"\"; len(\"gr\\u{fc}n\"); slice(\"gr\\u{fc}n\", 2, 4); upper(\"abc\")",
     "\"gr\xc3\xbcn\\t\\\"\"\n4\n\"\xc3\xbcn\"\n\"ABC\"\n"},
    {"split(\"a,b,,c\", \",\"); join([1, \"x\", 2.5], \"-\"); num(\"-12\"); num(\"1e3\"); str([1])",
     "[\"a\", \"b\", \"\", \"c\"]\n\"1-x-2.5\"\n-12\n1000.0\n\"[1]\"\n"},
    {"base(255, 16); base(-(2 ^ 70), 36); fixed(1234567.891, 2, \",\"); fixed(2 / 3, 4)",
     "\"ff\"\n\"-6x5kxtvuwilukg\"\n\"1,234,567.89\"\n\"0.6667\"\n"},
    {"floor(-1.5); ceil(-1.5); round(2.5); abs(-(2 ^ 70)); gcd(2 ^ 70, 6 ^ 20); sqrt(2)",
     "-2\n-1\n3\n1180591620717411303424\n1048576\n1.4142135623730951\n"},
    {"sum([1, 2 ^ 70, -2 ^ 70]); mean([1, 2, 3, 4]); stdev([2, 4, 4, 4, 5, 5, 7, 9]); percentile([4, 1, 3, 2], 50)",
     "1\n2.5\n2.138089935299395\n2.5\n"},
    {"fit([0, 1, 2], [1, 3, 5]); column(\"a,b\\n1,x\\n2.5,\\\"y \\\"\\\"z\\\"\\\"\\\"\\n\", \"b\"); sum(column(\"n\\n1\\n2\", \"n\"))",
     "[2.0, 1.0]\n[\"x\", \"y \\\"z\\\"\"]\n3\n"},
    {"seed(7); let l = []; for i in range(5) { l = push(l, random(100)); } l; type(random())",
     "[87, 4, 46, 3, 74]\n\"float\"\n"},
    {"print(\"a\", 1, [\"b\"]); { let y = 1; print(y); } # a comment", "a 1 [\"b\"]\n1\n"},
};

static const Case errors[] = {
    {"1 +", "t:1:4: error: expected an expression, found the end\n  1 +\n     ^\n"},
    {"let a = 1;\n  a + b;", "t:2:7: error: the name 'b' was not defined with let\n    a + b;\n        ^\n"},
    {"1 / 0", "t:1:3: error: division by zero\n  1 / 0\n    ^\n"},
    {"print(1); [1][3]", "1\nt:1:14: error: the index is outside of the list\n  print(1); [1][3]\n               ^\n"},
    {"\"abc", "t:1:1: error: a string without its closing quote\n  \"abc\n  ^\n"},
    {"len()", "t:1:1: error: len takes 1 arguments, 0 given\n  len()\n  ^\n"},
    {"fn f(n) { return f(n + 1); } f(0)",
     "t:1:18: error: the recursion is too deep\n  fn f(n) { return f(n + 1); } f(0)\n                   ^\n"},
    {"break;", "t:1:1: error: there is no loop around this\n  break;\n  ^\n"},
    {"1 < \"a\"", "t:1:3: error: these have no order\n  1 < \"a\"\n    ^\n"},
    {"9 ^ 9 ^ 9", "t:1:3: error: the power is too large\n  9 ^ 9 ^ 9\n    ^\n"},
    {")", "t:1:1: error: expected an expression, found )\n  )\n  ^\n"},
    {"0b12", "t:1:1: error: '0b12' is not a number\n  0b12\n  ^\n"},
};

static void check(Report *report, bool holds, const char *what)
{
    report->checks++;
    report->failures += !holds;
    if (!holds)
        buf_addf(report->out, "FAILED: %s\n", what);
}

static void check_text(Report *report, const char *what, const char *found, const char *wanted)
{
    bool is_equal = strcmp(found, wanted) == 0;
    check(report, is_equal, what);
    if (!is_equal)
        buf_addf(report->out, "  found:  %s\n  wanted: %s\n", found, wanted);
    report->sum = report->sum * 31 + hash_bytes(found, strlen(found));
}

static void check_case(Report *report, const Case *each, bool succeeds)
{
    Buf printed = {0};
    check(report, run_source("t", each->source, RUN_PROGRAM, &printed) == succeeds, each->source);
    check_text(report, each->source, buf_text(&printed), each->printed);
    buf_free(&printed);
}

static Big random_big(Rng *rng)
{
    Big big = big_from_int(0);
    for (uint64_t i = rng_below(rng, 12); i > 0; i--) {
        Big limb = big_from_int((int64_t)(rng_next(rng) >> rng_below(rng, 60)));
        Big product = big_multiply(&big, &limb);
        Big shift = big_from_int((int64_t)(rng_next(rng) >> 1));
        big_free(&big);
        big = big_add(&product, &shift);
        big_free(&limb);
        big_free(&product);
        big_free(&shift);
    }
    return big;
}

/* a = (a / b) * b + a % b, with a remainder between 0 and b; and digits read back. */
static void check_big_laws(Report *report)
{
    Rng rng = {.state = 42};
    bool divides = true, reads_back = true;
    for (int i = 0; i < 300; i++) {
        Big a = random_big(&rng), b = random_big(&rng), quotient, remainder, again;
        Buf digits = {0};
        if (b.len) {
            big_divide(&a, &b, &quotient, &remainder);
            Big product = big_multiply(&quotient, &b);
            Big whole = big_add(&product, &remainder);
            bool is_below = !remainder.len || (remainder.is_negative == b.is_negative &&
                                               (big_compare(&remainder, &b) < 0) != b.is_negative);
            divides = divides && big_compare(&whole, &a) == 0 && is_below;
            big_free(&quotient);
            big_free(&remainder);
            big_free(&product);
            big_free(&whole);
        }
        big_format(&a, &digits, 10);
        size_t sign = a.is_negative;
        bool is_read = big_parse(&again, buf_text(&digits) + sign, digits.len - sign, 10);
        again.is_negative = a.is_negative;
        reads_back = reads_back && is_read && big_compare(&a, &again) == 0;
        report->sum = report->sum * 31 + hash_bytes(buf_text(&digits), digits.len);
        big_free(&again);
        big_free(&a);
        big_free(&b);
        buf_free(&digits);
    }
    check(report, divides, "bigint: division and multiplication agree");
    check(report, reads_back, "bigint: digits read back");
}

static void check_map(Report *report)
{
    Map map = {0};
    char key[24];
    bool holds = map_get(&map, "x", 1) == -1;
    for (int round = 0; round < 2; round++)
        for (int i = 0; i < 1000; i++) {
            memset(key, 0, sizeof key);
            key[0] = (char)(i % 251);
            key[1] = (char)(i / 251);
            holds = holds && map_set(&map, key, 2, i + round) == (round == 0) && map_get(&map, key, 2) == i + round;
        }
    check(report, holds && map.count == 1000, "map: sets, gets and grows");
    map_free(&map);
}

static void check_utf8(Report *report)
{
    static const uint32_t points[] = {0x41, 0x7F, 0x80, 0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, 0x10FFFF};
    bool holds = true;
    for (size_t i = 0; i < COUNT_OF(points); i++) {
        char bytes[4];
        uint32_t point = 0;
        size_t len = utf8_encode(points[i], bytes);
        holds = holds && len && utf8_decode(bytes, len, &point) == len && point == points[i];
        holds = holds && (len == 1 || !utf8_is_valid(bytes, len - 1)) && utf8_count(bytes, len) == 1;
    }
    check(report, holds, "utf8: what is encoded is decoded");
    check(report, !utf8_is_valid("\xc0\x80", 2) && !utf8_is_valid("\xed\xa0\x80", 3), "utf8: overlong and surrogate");
}

static void check_csv(Report *report)
{
    static const char text[] = "a,\"b,\n\"\"c\"\r\n,\n\"\"";
    Csv csv;
    Error error = {0};
    check(report, csv_parse(text, sizeof text - 1, &csv, &error) && csv.count == 3, "csv: rows");
    check(report, csv.count == 3 && csv.rows[1].count == 2 && csv.rows[2].count == 1, "csv: fields");
    check_text(report, "csv: a quoted field", csv.rows[0].fields[1].text, "b,\n\"c");
    csv_free(&csv);
    check(report, !csv_parse("x\n\"y", 4, &csv, &error) && error.place.line == 2, "csv: a quote left open");
    csv_free(&csv);
}

static void check_numbers(Report *report)
{
    static const double values[] = {1e16, 1, -1e16};
    Buf text = {0};
    check(report, stats_sum(values, 3) == 1, "stats: a sum loses nothing");
    format_grouped(&text, "-1234567.25", '\'');
    check_text(report, "format: groups", buf_text(&text), "-1'234'567.25");
    buf_clear(&text);
    check(report, run_source("t", "1+a*2", RUN_SHOW_TREE, &text), "parser: a tree");
    check_text(report, "parser: precedence", buf_text(&text), "(do (show (+ 1 (* a 2))))\n");
    buf_clear(&text);
    check(report, run_source("t", "1+1", RUN_SHOW_CODE, &text), "compiler: code");
    check(report, strstr(buf_text(&text), "height 2") != NULL, "compiler: a constant is kept once");
    buf_free(&text);
}

bool selftest(Buf *out)
{
    Report report = {.out = out};
    for (size_t i = 0; i < COUNT_OF(programs); i++)
        check_case(&report, &programs[i], true);
    for (size_t i = 0; i < COUNT_OF(errors); i++)
        check_case(&report, &errors[i], false);
    check_big_laws(&report);
    check_map(&report);
    check_utf8(&report);
    check_csv(&report);
    check_numbers(&report);
    buf_addf(out, "selftest: %d checks, %d failed, sum %08x\n", report.checks, report.failures, (unsigned)report.sum);
    return !report.failures;
}
