"""Which files a compile read, and which it would have read had they been there.

Pure but for reading what is named: it knows no cache. Headers come from a depfile where that names
all of them, else from the lines that `-H` adds to standard error (gcc and clang write the same):
`-MMD` leaves system headers out, and there is no second depfile.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from typing import Final

__all__ = ["IncludeLines", "forbidding", "included", "missing_names", "precompiled", "probed"]

# Patterns here and in `arguments` are compiled when they are asked for: most compiles need none.
_INCLUDED: Final = rb"(?:\.+|[!x]) (.+)\n"
_GUARDS: Final = b"Multiple include guards may be useful for:\n"
# gcc reads it before the first line of any source and says so in no `-H`.
_PREDEFINED: Final = "stdc-predef.h"
_MOST_PROBES: Final = 20_000


class IncludeLines:
    """Takes the lines that `-H` added out of standard error, and keeps what they name.

    Attributes:
        names: the included files, in order, each once.
    """

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self._is_behind_guards = False

    def keep(self, line: bytes) -> bytes:
        """A line, or nothing for one that the user's own command would not have written."""
        found = re.fullmatch(_INCLUDED, line)
        if found is not None:
            if line[:1] != b"x":  # a precompiled header that was looked at and not used
                self.names[os.fsdecode(found[1])] = None
            return b""
        if line == _GUARDS:
            self._is_behind_guards = True
            return b""
        if self._is_behind_guards and os.fsdecode(line.rstrip(b"\n")) in self.names:
            return b""
        return line

    def with_predefined(self) -> list[str]:
        """All names, with the header that is included unsaid wherever it may come from."""
        places = dict.fromkeys([*(os.path.dirname(name) for name in self.names), "/usr/include"])
        unsaid = [path for place in places if os.path.isfile(path := os.path.join(place, _PREDEFINED))]
        return list(dict.fromkeys([*self.names, *unsaid]))


# --- what must not be in a file --------------------------------------------------------------

_TIMES: Final = rb"\b__(DATE|TIME|TIMESTAMP)__\b"
_INCBIN: Final = rb"\.\s*incbin\b|#\s*embed\b"
_ASM_INCLUDE: Final = rb"\.\s*(?:include|incbin)\b"


def forbidding(content: bytes, *, is_assembly: bool, may_say_time: bool) -> str:
    """Why a file that says this makes a result that cannot be kept; "" when it does not.

    Args:
        is_assembly: it goes to the assembler, which may include files on its own.
        may_say_time: the time of a build is given, by SOURCE_DATE_EPOCH.
    """
    # A plain search first: it is ten times faster than any pattern, and nearly always says no.
    if b"__TIME" in content or b"__DATE__" in content:
        for found in re.finditer(_TIMES, content):
            if not may_say_time or found[1] == b"TIMESTAMP":
                return f"{found[0].decode()} is in"
    if is_assembly or b"incbin" in content or b"embed" in content:
        included = re.search(_ASM_INCLUDE if is_assembly else _INCBIN, content)
        if included is not None:
            return f"{included[0].decode()} is in"
    return ""


_INCLUDES: Final = rb"(?m)^[ \t]*#[ \t]*(?:include|include_next|import)[ \t]*[<\"]([^<>\"\n]+)[>\"]"


def included(content: bytes) -> list[str]:
    """The names that a file includes, whether or not a condition leaves them out."""
    return [os.fsdecode(name) for name in re.findall(_INCLUDES, content)]


def precompiled(names: Iterable[str], *, source: str, searched: Iterable[str]) -> str:
    """A precompiled header that may have been read in the place of one of these; "" for none.

    gcc says nothing of it in a depfile, neither of the header nor of what was read for it.
    """
    places = dict.fromkeys(["", os.path.dirname(source), *searched])
    for name in names:
        for place in places:
            for suffix in (".gch", ".pch"):
                path = os.path.join(place, name + suffix)
                if os.path.exists(path):
                    return path
    return ""


# --- what was not there ----------------------------------------------------------------------

_PROBES: Final = rb"__has_include(?:_next)?\s*\(\s*[<\"]([^<>\"\n]+)[>\"]"


def probed(content: bytes) -> list[str]:
    """The names that a file asks for by `__has_include`."""
    if b"__has_include" not in content:
        return []
    return [os.fsdecode(name) for name in re.findall(_PROBES, content)]


def missing_names(
    found: Iterable[str], *, source: str, searched: Iterable[str], asked: Iterable[str]
) -> list[str]:
    """The paths at which a header would have been taken instead of one that was found. Nothing is there.

    More than the compiler looked at, never less where a header was found below a searched directory
    or beside its includer: a new file at one of them costs a compile that may have been needless.

    Args:
        found: the included files, by the names that the compiler gave them.
        source: the compiled file; what it includes in quotes is looked for beside it.
        searched: the directories of -iquote, -I, -isystem and -idirafter, in that order.
        asked: names that were asked for by `__has_include`.
    """
    found = list(found)
    dirs = [_clean(place) for place in searched]
    names, own = _relative_names(found, dirs)
    includers = dict.fromkeys([os.path.dirname(source), *own])
    places = list(dict.fromkeys([*includers, *dirs]))
    wanted = [*names, *(f"{name}.gch" for name in names), *asked]
    system = dict.fromkeys(os.path.dirname(name) for name in found if name.startswith("/usr/"))
    missing: dict[str, None] = {}
    for place in places:
        _probe(place, wanted, missing)
    for place in system:
        _probe(place, asked, missing)
    return list(missing)[:_MOST_PROBES]


def _relative_names(found: list[str], dirs: list[str]) -> tuple[dict[str, None], dict[str, None]]:
    """The names that headers may have been included by, and the directories of those of the project."""
    names: dict[str, None] = {}
    own: dict[str, None] = {}
    for path in found:
        below = [path[len(place) + 1 :] for place in dirs if path.startswith(f"{place}/")]
        if not path.startswith("/usr/"):
            own[os.path.dirname(path)] = None
        if not below:
            parts = path.split("/")
            # Of a system header it is not said how far its search directory reaches.
            at = parts.index("include") + 1 if "include" in parts[:-1] else -1
            below = ["/".join(parts[at:])]
            if len(parts) - at > 1 and at > 0:
                below.append("/".join(parts[at + 1 :]))  # below include/x86_64-linux-gnu
        names.update(dict.fromkeys(below))
    return names, own


def _probe(place: str, names: Iterable[str], missing: dict[str, None]) -> None:
    """Note what is not there, by the first part of the path that is missing."""
    there: dict[str, bool] = {}
    for name in names:
        first, slash, _ = name.partition("/")
        if slash and first not in (".", "..", ""):
            stem = os.path.join(place, first)
            if first not in there:
                there[first] = os.path.exists(stem)
            if not there[first]:
                missing[stem] = None
                continue
        path = os.path.join(place, name)
        if not os.path.lexists(path):
            missing[path] = None


def _clean(place: str) -> str:
    return place.rstrip("/") or "/"
