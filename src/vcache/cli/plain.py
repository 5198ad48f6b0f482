"""`vcache build` with plain words: read without click, which takes longer to load than a small build.

Whatever is not plain, a wrong option too, is left to click, which says it better.
"""

from __future__ import annotations

from collections.abc import Sequence

from vcache.kit.data import NamedTuple

__all__ = ["Plain", "main", "read"]


class Plain(NamedTuple):
    """What plain words ask for."""

    targets: tuple[str, ...] = ()
    directory: str | None = None
    file: str | None = None
    jobs: int | None = None
    is_keeping_going: bool = False
    is_quiet: bool = False
    verbosity: int = 0


def read(words: Sequence[str]) -> Plain | None:
    """What the words behind `vcache build` ask for; None when they are not plain."""
    targets: list[str] = []
    values: dict[str, str] = {}
    bare = {"-k": 0, "-q": 0, "-v": 0}
    rest = iter(words)
    for word in rest:
        if word[:1] != "-":
            targets.append(word)
        elif word in bare:
            bare[word] += 1
        elif word[:2] in ("-C", "-f", "-j"):
            value = word[2:] or next(rest, "")
            if value[:1] in ("", "-") or word[:2] in values:
                return None
            values[word[:2]] = value
        else:
            return None
    jobs = values.get("-j")
    if "" in targets or (jobs is not None and not (jobs.isascii() and jobs.isdecimal())):
        return None
    return Plain(
        tuple(targets),
        values.get("-C"),
        values.get("-f"),
        None if jobs is None else int(jobs),
        bool(bare["-k"]),
        bool(bare["-q"]),
        bare["-v"],
    )


def main(words: Sequence[str]) -> None:
    """Build as the words say, and end the process; return if they are not plain."""
    asked = read(words)
    if asked is None:
        return
    import gc

    from vcache.cli.ends import carried_out, leave

    gc.disable()  # as for every command: see `app.main`
    leave(carried_out(lambda: _build(asked)))


def _build(asked: Plain) -> int:
    from vcache.cli.building import Words, carry_out, slots_of
    from vcache.cli.place import find_place
    from vcache.cli.setup import Setup
    from vcache.dag.session import Options

    place = find_place(asked.directory, asked.file)
    setup = Setup()
    setup.is_quiet = asked.is_quiet
    options = Options(
        jobs=slots_of(asked.jobs), keep_going=0 if asked.is_keeping_going else 1, is_strict=not place.is_ninja
    )
    return carry_out(setup, place, options, Words(asked.targets, verbosity=asked.verbosity))
