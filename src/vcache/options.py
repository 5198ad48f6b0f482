"""What can be said of a step: its options, checked where they are given.

It knows no cache and no fingerprint.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, TypedDict

from vcache.errors import UsageError
from vcache.kit.data import dataclass, names_of
from vcache.making import Making

if TYPE_CHECKING:
    from vcache.fingerprint.inputs import Spec
    from vcache.making import Duration

__all__ = ["Options", "StepOptions"]


class Options(TypedDict, total=False):
    """The keywords of `Cache.step`: see `StepOptions`."""

    ttl: Duration | None
    stale: Duration | None
    errors: Duration | None
    tags: Iterable[str]
    version: str | int
    ignore: Iterable[str]
    inputs: Iterable[Spec | str | os.PathLike[str]] | Literal["traced"]
    outs: Iterable[str]
    depfile: str | None
    code: Literal["deep", "shallow", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How calls of a step are remembered.

    Attributes:
        ttl, stale, errors: durations, as in `Cache.get_or_compute`. Exceptions of a step whose inputs
            show only after a run ("traced", depfile) are not kept.
        tags: labels to invalidate by.
        version: part of the key: change it to forget what was remembered.
        ignore: names of parameters that do not count.
        inputs: what the step reads beside its arguments; or "traced" to record what it opens.
        outs: files the step makes, below the root; `{parameter}` stands for an argument.
        depfile: a Makefile rule the step writes, naming what it read.
        code: how much of the function's code counts: "deep", "shallow" or "none".
    """

    ttl: Duration | None = None
    stale: Duration | None = None
    errors: Duration | None = None
    tags: Iterable[str] = ()
    version: str | int = ""
    ignore: Iterable[str] = ()
    inputs: Iterable[Spec | str | os.PathLike[str]] | Literal["traced"] = ()
    outs: Iterable[str] = ()
    depfile: str | None = None
    code: Literal["deep", "shallow", "none"] = "deep"

    @classmethod
    def of(cls, options: Options) -> StepOptions:
        """The options given by name.

        Raises:
            UsageError: an unknown name (with the nearest known ones), or a value that does not fit.
        """
        known = names_of(cls)
        for name in options:
            if name not in known:
                from vcache.kit.names import nearest

                hint = nearest(name, known)
                meant = f": did you mean {hint[0]!r}?" if hint else f": there are {', '.join(known)}"
                raise UsageError(f"step has no option {name!r}{meant}")
        chosen = cls(**options)
        if chosen.code not in ("deep", "shallow", "none"):
            raise UsageError(f'code={chosen.code!r}: give "deep", "shallow" or "none"')
        if isinstance(chosen.inputs, str) and chosen.inputs != "traced":
            raise UsageError(f'inputs={chosen.inputs!r}: give a list such as [File("a.h")], or "traced"')
        if isinstance(chosen.outs, str | os.PathLike):
            raise UsageError(f"outs={chosen.outs!r}: give a list such as [{os.fspath(chosen.outs)!r}]")
        if chosen.stale is not None and tuple(chosen.outs):
            raise UsageError(
                f"stale={chosen.stale!r} with outs: a run in the background would write files that the "
                "caller is reading; leave one of them out"
            )
        return chosen

    def making(self) -> Making:
        """The part that decides how a value is kept."""
        tags = frozenset([self.tags] if isinstance(self.tags, str) else self.tags)
        return Making.of(ttl=self.ttl, stale=self.stale, errors=self.errors, tags=tags)
