"""The shape of a message: what varies from time to time is taken out, so that messages of one kind are equal.

    src/a.c:12:5: warning: unused variable 'x1'     <path.c>:<n>:<n>: warning: unused variable <str>
    GET /item/4711 HTTP/1.1 200 in 3.5 ms           GET <path> HTTP/<n> <n> in <n> ms

Taken out are `<time>`, `<hex>` (addresses, hashes, UUIDs and other long ids), `<ip>`, `<url>`, `<path>` (its
extension stays), `<str>` (in quotes), `<n>` (also within words); colours are left out. Pure, and the same
everywhere: `SHAPES` changes whenever the shape of any message does.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

__all__ = ["READ_CHARS", "SHAPES", "SHAPE_CHARS", "shape"]

SHAPES: Final = 1
"""The version of what `shape` gives."""
READ_CHARS: Final = 4_000
"""So much of a message is looked at."""
SHAPE_CHARS: Final = 1_000
"""No shape is longer: far less than is read, since where numbers vary in length, the end of what is read does."""

# A shape is that of the message with all digits zero: so what differs in digits is looked at once.
_ZEROS: Final = str.maketrans("123456789", "000000000")
_KEPT: Final = 8_192
_KEPT_CHARS: Final = 1_000  # at most 8 MB of them, as text of one byte a character

_D: Final = "[0-9]"
_HEX: Final = "[0-9a-fA-F]"
_MONTH: Final = "(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_CLOCK: Final = f"{_D}{{2}}:{_D}{{2}}(?::{_D}{{2}}(?:[.,]{_D}+)?)?"
_FILE: Final = r"[\w.@+~%=-]"
# Each begins where no other word goes on, so that no text is read more than a few times.
_APART: Final = r"(?<![\w.@+~%/-])"
# not can't, and not "GET /x": a request is more telling than a text; typographic quotes are gcc's
_STR: Final = (
    r"""(?<!\w)(?:'[^'\n]{0,200}'(?!\w)|"(?![A-Z]{3,7}\ /)[^"\n]{0,200}\""""
    "|\u2018[^\u2019\n]{0,200}\u2019"
    r"""|`[^`'\n]{0,200}['`])"""
)
_TIME: Final = (
    rf"(?<![\w.])(?:{_D}{{4}}[-/]{_D}{{2}}[-/]{_D}{{2}}(?:[T\ ]{_CLOCK})?(?:Z|\ ?[+-]{_D}{{2}}:?{_D}{{2}}\b)?"
    rf"|{_D}{{2}}/{_MONTH}/{_D}{{4}}:{_CLOCK}(?:\ [+-]{_D}{{4}})?|{_MONTH}\ [\ 0]?{_D}{{1,2}}\ {_CLOCK}"
    rf"|{_D}{{2}}:{_D}{{2}}:{_D}{{2}}(?:[.,]{_D}+)?)(?!\w)"
)
_ID: Final = (
    rf"(?<!\w)(?:{_HEX}{{8}}-(?:{_HEX}{{4}}-){{3}}{_HEX}{{12}}|0[xX]{_HEX}+|(?:{_HEX}{{2}}[:-]){{5,}}{_HEX}{{2}}"
    rf"|(?=[a-fA-F]*0)(?=0*[a-fA-F]){_HEX}{{7,}}"
    r"|(?=[A-Za-z]*0+[A-Za-z]+[0A-Za-z]*0|0+[A-Za-z]+0)[0A-Za-z]{16,})(?!\w)"
)
_URL: Final = r"(?<!\w)[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s\"'<>)\]]+"
_IP: Final = (
    rf"(?<![\w.])(?:{_D}{{1,3}}(?:\.{_D}{{1,3}}){{3}}(?![\w.]*\w)"
    rf"|(?=[a-fA-F:]{{0,39}}0)(?:{_HEX}{{1,4}}:){{1,7}}(?::{_HEX}{{1,4}}){{1,7}}"
    rf"|(?=[a-fA-F:]{{0,39}}0)(?:{_HEX}{{1,4}}:){{7}}{_HEX}{{1,4}}|::{_D}+)(?!\w)"
)
_PATH: Final = (
    rf"{_APART}(?:(?:~|\.\.?)?/{_FILE}(?:{_FILE}|/)*|{_FILE}+/{_FILE}+/(?:{_FILE}|/)*"
    rf"|{_FILE}+/{_FILE}*\.[A-Za-z][\w+]{{0,7}}(?!\w)|{_FILE}*\.[A-Za-z][\w+]{{0,7}}(?=:0))"
)
# 2.36-9+deb12u4 is one number to who asks what happened
_NUMBER: Final = rf"(?:(?<![\w.)\]-])[+-])?{_D}+(?:(?:\.{_D}+)+(?:[+~-][\w.+~-]*\w)?)?"
_VARIES: Final = re.compile(
    rf"(?P<colour>\x1b\[[0-9;]*[A-Za-z])|(?P<str>{_STR})|(?P<time>{_TIME})|(?P<hex>{_ID})|(?P<url>{_URL})"
    rf"|(?P<ip>{_IP})|(?P<path>{_PATH})|(?P<n>{_NUMBER})"
)
_EXTENSION: Final = re.compile(r"[^/.]\.([A-Za-z][\w+]{0,7})$")
_LIKE_PATH: Final = re.compile(rf"(?:[~.]{{0,2}}/)?(?:{_FILE}+/)+{_FILE}+")


def shape(message: str) -> str:
    """The message with placeholders for what varies."""
    text = message[:READ_CHARS].translate(_ZEROS)
    return _kept(text) if len(text) <= _KEPT_CHARS else _shape(text)


def _shape(text: str) -> str:
    return _VARIES.sub(_placeholder, text)[:SHAPE_CHARS]


_kept: Final = lru_cache(maxsize=_KEPT)(_shape)


def _placeholder(match: re.Match[str]) -> str:
    kind = match.lastgroup
    if kind == "colour":
        return ""
    if kind == "str" and _LIKE_PATH.fullmatch(match[0][1:-1]):
        return _path(match[0][1:-1])
    return _path(match[0]) if kind == "path" else f"<{kind}>"


def _path(text: str) -> str:
    # A sentence may end behind a path.
    plain = text.rstrip(".")
    found = _EXTENSION.search(plain)
    extension = "." + found[1].replace("0", "") if found is not None and found[1].strip("0") else ""
    return f"<path{extension}>" + "." * (len(text) - len(plain))
