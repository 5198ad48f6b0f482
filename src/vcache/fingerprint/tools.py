"""Finds the executable that a name would run, as `execvp` does. Runs nothing."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping

__all__ = ["find_tool"]


def find_tool(name: str, environ: Mapping[str, str]) -> tuple[str, os.stat_result] | None:
    """The path and stat of the executable behind a name; None when there is none.

    Each directory of PATH before the right one is asked every time: an executable that appears in
    one of them is the one that would run.
    """
    if "/" in name:
        return _executable(name)
    for directory in environ.get("PATH", os.defpath).split(os.pathsep):
        found = _executable(os.path.join(directory or ".", name))
        if found is not None:
            return found
    return None


def _executable(path: str) -> tuple[str, os.stat_result] | None:
    # Asked first, since it answers "no" without an exception: a third of the time of a stat.
    if not os.access(path, os.X_OK):
        return None
    try:
        st = os.stat(path)
    except OSError:  # as execvp: what cannot be looked at is passed over
        return None
    return (path, st) if stat.S_ISREG(st.st_mode) else None
