"""Function-level fingerprints: everything of the user's own that decides what a function does.

A print is a list of records (`Dep`), to be hashed and explained like any other input. Knows
nothing of arguments, keys or stores.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vcache.entry import Dep
from vcache.errors import UsageError

# Loaded with the first decorated function, not with the first call: it notes since when a source file
# may differ from what was loaded from it.
from vcache.fingerprint import sources as _sources  # noqa: F401
from vcache.kit.data import dataclass

if TYPE_CHECKING:
    from vcache.fingerprint.guards import Guard

__all__ = ["CodePrint", "Level", "code_print"]

Level = Literal["deep", "shallow", "none"]


@dataclass(frozen=True, slots=True)
class CodePrint:
    """What a function's code was when it was looked at.

    Attributes:
        deps: one record each for the function, every helper, class, global, closure cell, default
            and module constant it reaches, for the distributions it calls and for Python; sorted.
        opaque: what could not be seen, and why, for people; sorted.
        is_current: True as long as nothing of it was rebound or changed in this process. It costs
            well under a microsecond, and is to be asked before each use. What is on disk does not
            matter: the code that runs does.
    """

    deps: tuple[Dep, ...]
    opaque: tuple[str, ...]
    is_current: Guard


def code_print(
    func: Callable[..., object], *, level: Level = "deep", project_root: Path | None = None
) -> CodePrint:
    """The fingerprint of a function's code, as it runs in this process.

    Comments, docstrings, formatting and moved lines leave no trace in it, nor do the hash seed
    or the directory of the checkout.

    Args:
        func: a function, method, class, partial, wrapper or callable object.
        level: "deep" follows everything it reaches in the user's own project and counts the
            distributions it calls by name and version; "shallow" takes its own code, defaults
            and closure; "none" takes nothing.
        project_root: the project's directory. Paths below it count relative to it. Without it,
            those below the directory that the module was imported from do.

    Raises:
        UsageError: an unknown level, or not a callable.
    """
    if level not in ("deep", "shallow", "none"):
        raise UsageError(f'code={level!r} is no level of fingerprints: use "deep", "shallow" or "none"')
    given: object = func
    if not callable(given) and not hasattr(given, "__func__"):
        raise UsageError(
            f"{func!r:.80} is not callable: a {type(func).__qualname__} has no code to fingerprint"
        )
    if level == "none":
        return CodePrint((), (), _always)
    # Tables of opcodes and more: 5 ms that who switched this off need not pay.
    from vcache.fingerprint.reach import reach

    ledger = reach(func, is_deep=level == "deep", root=project_root)
    return CodePrint(ledger.deps, tuple(sorted(ledger.opaque)), ledger.watch.guard())


def _always() -> bool:
    return True
