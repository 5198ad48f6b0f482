"""What look-ups and examinations come to."""

from __future__ import annotations

import dataclasses

import pytest

from vcache.entry import Entry, make_key
from vcache.outcome import Hit, Miss, Reason
from vcache.report import Fault, Stats, VerifyReport

ENTRY = Entry(make_key("k"), bytes(32), 0)


def test_a_hit_is_true_whatever_its_value():
    """Also a hit of None, of an exception that is a value, and of a late one."""
    assert Hit("disk", ENTRY, None)
    assert Hit("disk", ENTRY, None).use() is None
    error = ValueError("kept as a value")
    assert Hit("disk", ENTRY, error).use() is error
    assert Hit("disk", ENTRY, 1, is_expired=True).use() == 1


def test_a_remembered_exception_is_raised_by_use():
    """Only where the entry says that it was raised."""
    hit = Hit("disk", dataclasses.replace(ENTRY, is_error=True), ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        hit.use()


def test_a_miss_is_false_and_says_why():
    """Whatever its reason."""
    for reason in Reason:
        assert not Miss(reason, "because")
        assert reason.value == reason.name.lower()


def test_the_ratio_is_of_all_look_ups():
    """From 0 to 1, and 0 without any."""
    stats = Stats(0, 0, 0, 0, 0, 0, 0, 0, saved_s=0.0, entries=0, size_bytes=0, disk_bytes=0)
    assert stats.ratio == 0
    assert dataclasses.replace(stats, hits=3, misses=1).ratio == 0.75
    assert [getattr(stats, name) for name in Stats.COUNTED] == [0] * len(Stats.COUNTED)


def test_a_report_is_true_when_nothing_is_wrong():
    """Also an empty one; a repaired fault is still one."""
    assert VerifyReport(0, (), is_repaired=False)
    assert not VerifyReport(1, (Fault("k", "damaged"),), is_repaired=True)
