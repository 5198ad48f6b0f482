"""`python -m vcache`, and where the command `vcache` begins.

It knows two commands by name, for they are started thousands of times: everything that a group of
commands needs would cost them more than what they do.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False  # importing typing costs 10 ms
if TYPE_CHECKING:
    from typing import NoReturn

__all__ = ["main", "ninja"]


def main() -> None:
    """The command `vcache`."""
    words = sys.argv[1:]
    if words[:1] == ["build"]:
        from vcache.dag.frozen import VCACHE, try_clean

        try_clean(words[1:], VCACHE)  # ends the process where there is nothing to do
    # As `cli.app` says of what a command does: what it imports is not garbage either, 4 ms of 40.
    gc.disable()
    if words[:1] == ["build"]:
        from vcache.cli import plain

        plain.main(words[1:])  # ends the process if it is asked in plain words
    elif words[:1] == ["cc"]:
        from vcache.cc import lean

        lean.main(words[1:])  # ends the process where it knows the answer
        from vcache.cc import full as compilers

        compilers.run(words[1:])
    from vcache.cli import main as full

    full()


def ninja() -> None:
    """The command `vcache-ninja`."""
    from vcache.dag.frozen import NINJA, try_clean

    try_clean(sys.argv[1:], NINJA)  # ends the process where there is nothing to do
    # As in `cli.app`: looking for cycles, and taking the interpreter down in good order, cost more
    # than what is done in between: 30 ms of 200 after a small change among 10,000 steps.
    gc.disable()
    from vcache.cli.ninja import main as full

    _leave(full())


def _leave(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            status = status or 1
    os._exit(status)


if __name__ == "__main__":
    main()
