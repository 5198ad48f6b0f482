"""Levels of lines that were written for people."""

from __future__ import annotations

import pytest

from vcache.logs.receive.guess import level_in
from vcache.query.levels import CRITICAL, DEBUG, ERROR, INFO, NOTE, TRACE, WARNING


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("a.c:1:2: error: expected ';'", ERROR),
        ("a.c:1:2: warning: unused variable", WARNING),
        ("a.c:1:2: note: declared here", NOTE),
        ("a.c:1:2: fatal error: x.h: No such file", CRITICAL),
        ("\x1b[1ma.c:1:2: \x1b[31merror: \x1b[mexpected", ERROR),
        ("[WARN] old", WARNING),
        ("[warn] old", WARNING),
        ("[ERROR] Failed to execute goal", ERROR),
        ("2026-11-21 21:14:33,123 ERROR app: no", ERROR),
        ("2026-11-21 21:14:33,123 - root - WARNING - no", WARNING),
        ("ERROR:root:no", ERROR),
        ("DEBUG:urllib3:x", DEBUG),
        ("E/Tag: no", ERROR),
        ("D/Tag( 123): x", DEBUG),
        ("W1121 21:14:33.123456 1 a.cc:1] x", WARNING),
        ("error[E0308]: mismatched types", ERROR),
        ("src/a.ts(1,2): error TS2304: Cannot find name", ERROR),
        ("a.cpp(3): fatal error C1083: Cannot open", CRITICAL),
        ("FAILED: a.o", ERROR),
        ("make: *** [Makefile:2: all] Error 1", ERROR),
        ("npm ERR! code 1", ERROR),
        ("thread 'main' panicked at src/main.rs:2:5:", ERROR),
        ("fatal: not a git repository", CRITICAL),
        ('level=warn msg="x"', WARNING),
        ('{"level":"debug","msg":"x"}', DEBUG),
        ("INFO: started", INFO),
        ("TRACE x", TRACE),
        ("a.o: undefined reference to `f'", ERROR),
    ],
)
def test_a_level_is_found_where_tools_put_it(line: str, level: int) -> None:
    """Words before a colon, in brackets, in capitals; letters of Android and glog."""
    assert level_in(line) == level


@pytest.mark.parametrize(
    "line",
    ["", "0 errors, 0 warnings", "checking for error handling... yes", "[3/9] gcc -Werror -c error.c -o error.o",
     "std::error::Error", "gcc -Wno-error=unused info.c", "E", "information about warnings"],
)  # fmt: skip
def test_a_word_elsewhere_is_no_level(line: str) -> None:
    """What is only spoken of did not happen."""
    assert level_in(line) == 0
