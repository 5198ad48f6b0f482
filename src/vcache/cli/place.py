"""Where a build happens, and by which file: what all commands about builds ask first."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from vcache.errors import UsageError
from vcache.kit.data import NamedTuple

__all__ = ["VCACHEFILE", "Place", "find_place"]

VCACHEFILE: Final = "vcachefile.py"
_NINJA: Final = "build.ninja"


class Place(NamedTuple):
    """Where a build happens, and by which file.

    Attributes:
        base: the absolute directory of the build file.
        file: the build file, relative to it.
        root: the top of the project.
        is_ninja: it is a ninja file.
    """

    base: str
    file: str
    root: Path
    is_ninja: bool


def find_place(directory: str | None, file: str | None) -> Place:
    """The build file that is meant: the one given, else vcachefile.py, else build.ninja, else the
    nearest vcachefile.py above.

    Raises:
        UsageError: there is none.
    """
    here = os.path.realpath(directory or ".")
    if not os.path.isdir(here):
        raise UsageError(f"-C {directory}: there is no such directory")
    if file is None:
        file = next((name for name in (VCACHEFILE, _NINJA) if os.path.exists(os.path.join(here, name))), None)
        above = here
        while file is None:
            above, below = os.path.dirname(above), above
            if above == below:
                raise UsageError(f"there is no {VCACHEFILE} and no {_NINJA} in {here}: name one with -f")
            if os.path.isfile(os.path.join(above, VCACHEFILE)):
                here, file = above, VCACHEFILE
    full = os.path.join(here, file)
    if not os.path.isfile(full):
        raise UsageError(f"-f {file}: there is no such file (looked for {full})")
    if not full.endswith(".py"):
        from vcache.dag.ninja.project import project_root

        # As for ninja: paths in the file are relative to the working directory.
        return Place(here, file, Path(project_root(here)), is_ninja=True)
    base = os.path.dirname(full)
    root = os.environ.get("VCACHE_ROOT") or base
    return Place(base, os.path.basename(full), Path(os.path.realpath(root)), is_ninja=False)
