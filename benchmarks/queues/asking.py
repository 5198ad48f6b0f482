"""A process that asks for jobs when its parent says so: a line such as "one 100", answered with the seconds.

It must not know any queue.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter

__all__ = ["serve"]


def serve(**ways: Callable[..., object]) -> None:
    """Answer each line of standard input until its end.

    Args:
        ways: what asks for jobs, by the name it is called by; it is given the numbers behind that.
    """
    for line in sys.stdin:
        way, *numbers = line.split()
        started_s = perf_counter()
        ways[way](*map(int, numbers))
        print(perf_counter() - started_s, flush=True)
