"""Whose code a module is: the user's own, the standard library's, or a distribution's.

Only the user's own code is followed; a distribution counts by name and version, the standard
library by the Python version. Knows nothing of functions or fingerprints.
"""

from __future__ import annotations

import functools
import os
import re
import site
import sys
import sysconfig
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Final

from vcache.kit.data import dataclass

__all__ = ["ANY", "Origin", "Project", "distribution", "is_users", "origin", "source_root"]

_SITE = re.compile(r"(^|/)(site|dist)-packages/")
_EXTENSION = re.compile(r"\.(so|pyd|dylib)$")


class Origin(Enum):
    """Where code comes from."""

    USER = "user"
    STDLIB = "stdlib"
    DISTRIBUTION = "distribution"
    EXTENSION = "extension"  # the user's own compiled module: it runs, and cannot be read


@dataclass(frozen=True, slots=True)
class Project:
    """What is known to be the user's own, wherever it lies.

    Attributes:
        root: the project's directory, if the user has named one; "" if not.
        package: the top-level package of the function that is looked at. Installed, it may still
            be edited and installed again without a new version.
    """

    root: str = ""
    package: str = ""


ANY: Final = Project()
"""Nothing is known: code is the user's if it is nobody else's."""


def origin(module: str, path: str | None, project: Project = ANY) -> Origin:
    """Whose code a module is.

    Args:
        module: its full name.
        path: its `__file__`, if any.
    """
    top = module.partition(".")[0]
    if top == "vcache":  # its own code never counts as the user's, not even in a working tree
        return Origin.DISTRIBUTION
    if not path or path.startswith("<"):
        known = top in sys.builtin_module_names or top in sys.stdlib_module_names
        return Origin.STDLIB if known and top != "__main__" else Origin.USER
    return _origin_of_path(path, project.root, top, is_own=top == project.package)


def is_users(namespace: Mapping[str, object], project: Project = ANY) -> bool:
    """Is this the global namespace of a module of the user's own?"""
    path = namespace.get("__file__")
    module = namespace.get("__name__") or "__main__"
    return origin(str(module), path if isinstance(path, str) else None, project) is Origin.USER


@functools.cache
def _origin_of_path(path: str, root: str, top: str, *, is_own: bool) -> Origin:
    absolute = os.path.abspath(path)
    own = Origin.EXTENSION if _EXTENSION.search(absolute) else Origin.USER
    if absolute.startswith(_stdlib_directories()) and not _is_installed(absolute):
        return Origin.STDLIB
    if is_own:
        return own
    if root and absolute.startswith(root + "/"):
        return (
            Origin.DISTRIBUTION if _SITE.search(absolute[len(root) :]) or _is_vendored(absolute, top) else own
        )
    return Origin.DISTRIBUTION if _is_installed(absolute) or _is_vendored(absolute, top) else own


def _is_installed(path: str) -> bool:
    return _SITE.search(path) is not None or path.startswith(_site_directories())


def _is_vendored(path: str, top: str) -> bool:
    """Does it lie where `pip install --target` has put it, with its metadata beside it?"""
    before, found, _ = path.rpartition(f"/{top}/")
    return _beside(top, before if found else os.path.dirname(path)) is not None


@functools.cache
def _stdlib_directories() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = {paths["stdlib"], paths["platstdlib"], os.path.dirname(os.__file__)}
    return tuple(sorted({f"{form}/" for path in found for form in (path, os.path.realpath(path))}))


@functools.cache
def _site_directories() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = {paths["purelib"], paths["platlib"], site.getusersitepackages(), *site.getsitepackages()}
    return tuple(sorted(f"{path}/" for path in found))


def source_root(module: str, path: str | None) -> str | None:
    """The directory that a module is imported from: where two checkouts of it differ."""
    if not path:
        return None
    absolute = os.path.abspath(path)
    above = module.count(".") + (os.path.basename(absolute) == "__init__.py")
    for _ in range(above + 1):
        absolute = os.path.dirname(absolute)
    return absolute


@functools.cache
def distribution(top: str, path: str | None) -> tuple[str, str] | None:
    """Name and version of the distribution that a top-level package comes from, or None.

    Args:
        top: the package's name.
        path: its file: a distribution of the same name beside it is looked for first.
    """
    directory = source_root(top, path)
    return (_beside(top, directory) if directory else None) or _among_all(top)


@functools.cache
def _beside(top: str, directory: str) -> tuple[str, str] | None:
    """By the directory of its metadata, whose name says it all (PyPA: recording installed projects)."""
    try:
        entries = os.listdir(directory)
    except OSError:
        return None
    for entry in sorted(entries):
        name, _, version = entry.removesuffix(".dist-info").partition("-")
        if entry.endswith(".dist-info") and _canonical(name) == _canonical(top):
            record = Path(directory, entry, "RECORD")
            if record.is_file() and f"\n{top}" in "\n" + record.read_text(errors="replace"):
                return _canonical(name), version
    return None


def _among_all(top: str) -> tuple[str, str] | None:
    # 20 ms to import, and some more to read every distribution: only for who has another name.
    from importlib import metadata

    for name in sorted(set(metadata.packages_distributions().get(top, ()))):
        return _canonical(name), metadata.version(name)
    return None


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
