"""What answers of HTTP mean."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from vcache.errors import StoreError, StoreFull, StoreUnavailable
from vcache.store.http.messages import Answer, Refused, ServerBusy, refusal


def answer(status: int, *lines: bytes, body: bytes = b"") -> Answer:
    return Answer(status, [b"HTTP/1.1 200 OK\r\n", *lines, b"\r\n"], body)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Refused), (308, Refused), (400, Refused), (401, Refused), (403, Refused), (405, Refused),
        (408, ServerBusy), (409, Refused), (413, StoreFull), (415, Refused), (425, ServerBusy), (429, ServerBusy),
        (500, ServerBusy), (501, Refused), (502, ServerBusy), (503, ServerBusy), (504, ServerBusy),
        (505, Refused), (507, StoreFull), (599, ServerBusy), (206, Refused), (999, ServerBusy),
    ],
)  # fmt: skip
def test_a_status_has_one_meaning(status: int, kind: type[StoreError]) -> None:
    """what may go well later is retryable, and nothing else; the message has place, status and request"""
    error = refusal("http://h/base", answer(status), "PUT")
    assert type(error) is kind
    assert error.retryable == isinstance(error, StoreUnavailable)
    assert f"http://h/base: {status} to PUT" in str(error)


def test_who_is_not_let_in_learns_what_to_do() -> None:
    """401 and 403 carry the remedy, other statuses do not"""
    assert "set X" in str(refusal("h", answer(401), "GET", remedy="set X"))
    assert "set X" in str(refusal("h", answer(403), "GET", remedy="set X"))
    assert "set X" not in str(refusal("h", answer(400), "GET", remedy="set X"))


def test_a_redirect_is_shown_shortened() -> None:
    """where a redirect points is said, no longer than a line"""
    error = refusal("h", answer(302, b"Location: http://elsewhere/" + b"x" * 5000 + b"\r\n"), "GET")
    assert "http://elsewhere/xxx" in str(error)
    assert len(str(error)) < 500


def test_what_a_server_says_is_shown_if_it_can_be_read() -> None:
    """the beginning of a text is in the message; terminal sequences and bytes are not"""
    assert "not a key" in str(refusal("h", answer(400, body=b"not a key"), "PUT"))
    assert "\x1b" not in str(refusal("h", answer(400, body=b"\x1b[31mred"), "PUT"))
    assert len(str(refusal("h", answer(400, body=b"x" * 10_000), "PUT"))) < 400


@pytest.mark.parametrize(
    ("value", "least_s", "most_s"),
    [("0", 0, 0), ("7", 7, 7), ("99999999999999999999", 3600, 3600), ("in 100 s", 60, 101),
     ("in 1970", 0, 0)],
)  # fmt: skip
def test_when_to_come_back(value: str, least_s: float, most_s: float) -> None:
    """Retry-After is seconds or a date, and never more than an hour"""
    dates = {"in 100 s": time.time() + 100, "in 1970": 0.0}
    value = formatdate(dates[value], usegmt=True) if value in dates else value
    error = refusal("h", answer(503, f"Retry-After: {value}\r\n".encode()), "GET")
    assert isinstance(error, ServerBusy)
    assert error.retry_after_s is not None
    assert least_s <= error.retry_after_s <= most_s


@pytest.mark.parametrize("value", ["", "soon", "-5", "1e9", "²", "Wed, 99 Foo 2026"])
def test_a_time_that_is_none_is_ignored(value: str) -> None:
    """a Retry-After that cannot be read is none"""
    error = refusal("h", answer(503, f"Retry-After: {value}\r\n".encode("latin-1")), "GET")
    assert isinstance(error, ServerBusy)
    assert error.retry_after_s is None


def test_headers_are_found_in_any_case() -> None:
    """names are in lower case, values trimmed, and those of one name joined"""
    got = answer(200, b"X-One:  a \r\n", b"x-one: b\r\n", b'ETag: "x:y"\r\n', b"broken\r\n").headers  # fmt: skip
    assert got == {"x-one": "a, b", "etag": '"x:y"'}
