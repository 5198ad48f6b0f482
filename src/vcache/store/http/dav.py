"""What a WebDAV server says of a directory. No I/O.

Own lines on expat rather than ElementTree: a document type, with which an answer of a few bytes can
grow to gigabytes or name local files, is refused before it is read.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import unquote
from xml.parsers import expat

from vcache.errors import DecodeError

__all__ = ["LIST", "names_in"]

LIST: Final = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop><resourcetype/></prop></propfind>'
)
"""The body of a PROPFIND that `names_in` understands the answer to."""
_PIECE_BYTES: Final = 64 << 10
_HREF: Final = "DAV: href"
_RESPONSE: Final = "DAV: response"
_COLLECTION: Final = "DAV: collection"


def names_in(answer: bytes | bytearray) -> list[str]:
    """The last parts of the paths of all files that a PROPFIND's answer names, decoded.

    Raises:
        DecodeError: not XML, or with a document type.
    """
    reader = _Reader()
    view = memoryview(answer)
    try:
        for at in range(0, len(view), _PIECE_BYTES):
            reader.parser.Parse(bytes(view[at : at + _PIECE_BYTES]), False)
        reader.parser.Parse(b"", True)
    except expat.ExpatError as error:
        raise DecodeError(f"a listing of {len(answer)} bytes is not XML: {error}") from None
    return reader.names


class _Reader:
    def __init__(self) -> None:
        self.names: list[str] = []
        self._texts: list[str] | None = None
        self._href = ""
        self._is_collection = False
        self.parser = parser = expat.ParserCreate(namespace_separator=" ")
        parser.buffer_text = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._text
        parser.StartDoctypeDeclHandler = self._refuse

    def _start(self, tag: str, _attributes: object) -> None:
        if tag == _RESPONSE:
            self._href, self._is_collection = "", False
        elif tag == _HREF and not self._href:
            self._texts = []
        elif tag == _COLLECTION:
            self._is_collection = True

    def _text(self, text: str) -> None:
        if self._texts is not None:
            self._texts.append(text)

    def _end(self, tag: str) -> None:
        if tag == _HREF and self._texts is not None:
            self._href, self._texts = "".join(self._texts).strip(), None
        elif tag == _RESPONSE and not self._is_collection and not self._href.endswith("/"):
            self.names.append(unquote(self._href.rpartition("/")[2]))

    def _refuse(self, *_: object) -> None:
        raise DecodeError("a listing has a document type: it is not read")
