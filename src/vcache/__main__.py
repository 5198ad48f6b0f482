"""`python -m vcache`, and where the command `vcache` begins.

It knows two commands by name, for they are started thousands of times: everything that a group of
commands needs would cost them more than what they do.
"""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """The command `vcache`."""
    words = sys.argv[1:]
    if words[:1] == ["build"]:
        from vcache.dag.frozen import VCACHE, try_clean

        try_clean(words[1:], VCACHE)
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
    from vcache.cli.ninja import main as full

    raise SystemExit(full())


if __name__ == "__main__":
    main()
