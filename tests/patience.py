"""How tests wait: for a condition, or for what must not wait itself. Protection against a hang, never a measurement."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["NEVER_S", "no_hang", "until"]

NEVER_S: Final = 300.0
"""For a deadline that nobody may wait for: far above what `no_hang` bears."""
_HANG_S: Final = 60.0
_PAUSE_S: Final = 0.002


@contextmanager
def no_hang() -> Iterator[None]:
    """What is done in this context does not wait for what takes `NEVER_S`.

    How fast it is says nothing: the bound is a minute, so that no busy machine comes near it.
    """
    started_s = time.monotonic()
    yield
    took_s = time.monotonic() - started_s
    assert took_s < _HANG_S, f"it waited for what never comes: {took_s:.0f} s"


def until(is_so: Callable[[], object], timeout_s: float = _HANG_S) -> None:
    """Wait for a condition to hold."""
    end_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < end_s, "it did not come to hold"
        time.sleep(_PAUSE_S)
