"""The top of a project, told from what its generator left in the build directory."""

from __future__ import annotations

import os
import re
import shlex
from typing import Final

__all__ = ["project_root"]

_CMAKE_SOURCE: Final = re.compile(r"^CMAKE_HOME_DIRECTORY:[A-Z]+=(.*)$", re.MULTILINE)
_GN_COMMAND: Final = re.compile(r"^ *command = (.*\bgen\b.*)$", re.MULTILINE)
_GN_RULE_BYTES: Final = 1 << 16
"""GN writes the rule that reruns it at the head of build.ninja."""


def project_root(build_dir: str) -> str:
    """The nearest directory that holds both a build directory and its sources; else the former.

    `VCACHE_ROOT` in the environment overrides what CMake, Meson or GN wrote down.
    """
    build_dir = os.path.abspath(build_dir)
    if override := os.environ.get("VCACHE_ROOT"):
        return os.path.abspath(override)
    for find in (_from_cmake, _from_meson, _from_gn):
        source = find(build_dir)
        if source:
            return os.path.commonpath((build_dir, os.path.abspath(source)))
    return build_dir


def _from_cmake(build_dir: str) -> str:
    found = _CMAKE_SOURCE.search(_text(build_dir, "CMakeCache.txt"))
    return found.group(1) if found else ""


def _from_meson(build_dir: str) -> str:
    text = _text(build_dir, "meson-info/meson-info.json")
    if not text:
        return ""
    import json  # only a Meson project needs it

    try:
        source = json.loads(text)["directories"]["source"]
    except (ValueError, KeyError, TypeError):
        return ""
    return source if isinstance(source, str) else ""


def _from_gn(build_dir: str) -> str:
    if not os.path.exists(os.path.join(build_dir, "args.gn")):
        return ""
    for found in _GN_COMMAND.finditer(_text(build_dir, "build.ninja", _GN_RULE_BYTES)):
        try:
            words = shlex.split(found.group(1).replace("$ ", " ").replace("$:", ":"))
        except ValueError:
            continue
        for word in words:
            if word.startswith("--root="):
                return os.path.join(build_dir, word.removeprefix("--root="))
    return ""


def _text(directory: str, name: str, most_bytes: int = -1) -> str:
    """A file's text; "" where there is none."""
    try:
        with open(os.path.join(directory, name), encoding="utf-8", errors="surrogateescape") as file:
            return file.read(most_bytes)
    except OSError:
        return ""
