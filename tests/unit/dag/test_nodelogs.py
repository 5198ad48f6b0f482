"""What nodes wrote is found again by what it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from vcache.cache import Cache
from vcache.dag.nodelogs import keep, log_digest, recall
from vcache.entry import make_key

CHUNKS = ((1, 0, b"a\n"), (2, 7, b"\xff"))


@pytest.fixture
def cache(tmp_path: Path):
    with Cache("mem:1MB", root=tmp_path) as cache:
        yield cache


def test_what_was_kept_is_recalled_as_it_was(cache):
    """with its times; nothing written is nothing kept"""
    assert recall(cache, keep(cache, CHUNKS).hex()) == CHUNKS
    assert keep(cache, ()) == b"" and recall(cache, "") == ()


def test_times_do_not_count_and_streams_do(cache):
    """two runs that wrote the same have one log"""
    assert log_digest(CHUNKS) == log_digest(((1, 5, b"a\n"), (2, 9, b"\xff")))
    assert log_digest(CHUNKS) != log_digest(((2, 0, b"a\n"), (2, 7, b"\xff")))
    assert log_digest(((1, 0, b"ab"),)) != log_digest(((1, 0, b"a"), (1, 0, b"b")))


@pytest.mark.parametrize("value", [None, "text", [1], [[1, 2]], [["x", 0, b""]], [[1, 0, "text"]]])
def test_what_is_gone_or_no_log_is_none(cache, value):
    """whatever another program has put there"""
    assert recall(cache, "00") is None
    cache.put_key(make_key("00", namespace=".logs"), value)
    assert recall(cache, "00") is None
