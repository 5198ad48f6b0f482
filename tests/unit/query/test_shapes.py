"""Shapes of messages, as they are in real logs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.query.shapes import READ_CHARS, SHAPE_CHARS, SHAPES, shape

REAL = {
    # gcc, make, ld
    "src/a.c:12:5: warning: unused variable \u2018x1\u2019 [-Wunused-variable]": "<path.c>:<n>:<n>: warning: unused variable <str> [-Wunused-variable]",
    "main.c:3:4: error: expected ';' before '}' token": "<path.c>:<n>:<n>: error: expected <str> before <str> token",
    "In file included from /usr/include/stdio.h:27,": "In file included from <path.h>:<n>,",
    "make[2]: *** [Makefile:12: all] Error 1": "make[<n>]: *** [Makefile:<n>: all] Error <n>",
    "a.o: in function `main': undefined reference to `bar'": "a.o: in function <str>: undefined reference to <str>",
    # dpkg.log
    "2026-11-21 10:00:00 status installed libc6:amd64 2.36-9+deb12u4": "<time> status installed libc<n>:amd<n> <n>",
    # syslog
    "Nov  1 10:00:01 host sshd[1234]: Failed password for root from 192.168.1.5 port 55222 ssh2": "<time> host sshd[<n>]: Failed password for root from <ip> port <n> ssh<n>",
    # nginx
    '10.0.0.1 - - [21/Nov/2026:10:00:00 +0000] "GET /a/b.html?x=1 HTTP/1.1" 200 612 "-" "Mozilla/5.0 (X11)"': '<ip> - - [<time>] "GET <path.html>?x=<n> HTTP/<n>" <n> <n> <str> <str>',
    '2026/11/21 10:00:00 [error] 12#45: *7 open() "/usr/share/x.ico" failed (2: No such file or directory)': "<time> [error] <n>#<n>: *<n> open() <path.ico> failed (<n>: No such file or directory)",
    # Python
    '  File "/usr/lib/python3.11/x.py", line 12, in foo': "  File <path.py>, line <n>, in foo",
    "ValueError: can't read 0x7fff12ab of <obj object at 0x7f001>": "ValueError: can't read <hex> of <obj object at <hex>>",
    # ids and addresses
    "id 123e4567-e89b-12d3-a456-426614174000 of a1b2c3d": "id <hex> of <hex>",
    "token 01ARZ3NDEKTSV4RRFFQ69G5FAV": "token <hex>",
    "via fe80::1 and 2001:db8::ff00:42:8329 and ::1 and 10.0.0.1:80": "via <ip> and <ip> and <ip> and <ip>:<n>",
    "mac 00:1a:2b:3c:4d:5e": "mac <hex>",
    "get https://example.org:8080/x?y=1 in 2026-11-21T10:00:00.5Z": "get <url> in <time>",
    # numbers
    "took 5s, -3.5 of +7, x-1 worker12": "took <n>s, <n> of <n>, x-<n> worker<n>",
    "\x1b[31mred\x1b[0m 12": "red <n>",
    # what looks like one of these, and is none
    "std::vector a::b and/or text/html n/a, deadline added": "std::vector a::b and/or text/html n/a, deadline added",
    "nothing here": "nothing here",
    "": "",
}  # fmt: skip


@pytest.mark.parametrize("message", REAL, ids=lambda text: text[:20])
def test_what_varies_is_taken_out(message: str):
    """And the rest stays."""
    assert shape(message) == REAL[message]


def test_the_version_stands_for_the_shapes():
    """Shapes are kept with answers: other shapes are another version."""
    assert SHAPES == 1


@given(st.text(max_size=60) | st.text(alphabet="0a/.:-'\"` <>\x1b[m", max_size=60))
def test_digits_alone_make_no_other_shape(text: str):
    """Whatever the text, its shape is that of the text with other digits."""
    assert shape(text) == shape("".join("7" if char in "0123456789" else char for char in text))


def test_a_long_message_has_the_shape_of_its_beginning():
    """Also where what varies has another length; nothing takes long."""
    one, other = ("".join(f"{text}{number} and " for number in range(9_000)) for text in ("x ", "x 1234"))
    assert shape(one) == shape(other)
    assert len(shape(one)) == SHAPE_CHARS
    for part in ("a", "/", "a/", "0.", ":", "a:", "'", "0-", ".a", "a0", "00:", "://", "f", "é"):
        assert len(shape(part * READ_CHARS)) <= SHAPE_CHARS
