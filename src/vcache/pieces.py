"""What a result says of its outputs, typed and checked. Pure: it touches no file.

It knows what an artifact is, and nothing of caches.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from vcache.fingerprint.outputs import parts_of
from vcache.hash import DIGEST_BYTES
from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from vcache.fingerprint.restoring import Branch

__all__ = ["LINK", "MODE_BITS", "Artifact", "Output", "Piece", "branch_of", "planned"]

MODE_BITS: Final = 0o777
"""Set-uid and its kin are never given back: see `outputs.restore`."""
LINK: Final = stat.S_IFLNK
_MODE_MOST: Final = 0o177777
_TARGET_MOST_BYTES: Final = 4095  # PATH_MAX of Linux, with its NUL

Artifact = list[object]
"""[name below the root with "/", mode, content]: what a result remembers of an output.

For a regular file the permission bits and the BLAKE3 of what it holds; for a symbolic link 0o120000
and the bytes of its target; for an empty directory 0o040000 with its permission bits, and nothing.
"""


class Piece(NamedTuple):
    """One artifact, typed."""

    name: str
    mode: int
    content: bytes

    @property
    def is_file(self) -> bool:
        return self.mode <= MODE_BITS

    @property
    def is_link(self) -> bool:
        return self.mode == LINK

    @property
    def is_directory(self) -> bool:
        return self.mode > MODE_BITS and self.mode != LINK


class Output(NamedTuple):
    """One declared output: a file or link, or a directory with all below it."""

    name: str
    pieces: tuple[Piece, ...]
    is_tree: bool


def planned(artifacts: Sequence[object], outs: Sequence[str] | None) -> list[Output] | None:
    """What `collect` took, by output; None for anything else: another program's result is a miss.

    Raises:
        UnsafePath: a name that is not plainly below a directory.
    """
    pieces: list[Piece] = []
    for artifact in artifacts:
        piece = _piece(artifact)
        if piece is None:
            return None
        pieces.append(piece)
    if outs is None:
        outs = [piece.name for piece in pieces]
    if len(pieces) == 1 and len(outs) == 1 and pieces[0].name == outs[0]:  # the commonest
        return [Output(pieces[0].name, (pieces[0],), pieces[0].is_directory)]
    return _by_output(pieces, outs)


def _piece(artifact: object) -> Piece | None:
    if not isinstance(artifact, list | tuple) or list(map(type, artifact)) != [str, int, bytes]:
        return None
    name, mode, content = artifact
    parts_of(name)
    if not 0 <= mode <= _MODE_MOST:
        return None
    if stat.S_IFMT(mode) in (0, stat.S_IFREG):
        mode &= MODE_BITS
        is_sound = len(content) == DIGEST_BYTES
    elif mode == LINK:
        is_sound = 0 < len(content) <= _TARGET_MOST_BYTES and b"\0" not in content
    else:
        is_sound = stat.S_IFDIR <= mode <= stat.S_IFDIR | MODE_BITS and not content
    return Piece(name, mode, content) if is_sound else None


def _by_output(pieces: Sequence[Piece], outs: Sequence[str]) -> list[Output] | None:
    """Pieces under the outputs they are of. None where one is of none, or two are in each other's way."""
    tops: dict[str, list[Piece]] = {out.rstrip("/"): [] for out in outs}
    names = {piece.name for piece in pieces}
    if len(names) != len(pieces):
        return None
    covered: set[str] = set()
    for piece in pieces:
        above = [piece.name[:at] for at, char in enumerate(piece.name) if char == "/"]
        if not names.isdisjoint(above):
            return None  # below a file or a link: it would be written to where that leads
        top = next((name for name in (*above, piece.name) if name in tops), None)
        if top is None:
            return None
        tops[top].append(piece)
        covered.update((*above, piece.name))
    if not covered.issuperset(tops):
        return None
    return [
        Output(name, tuple(found), len(found) > 1 or found[0].name != name or found[0].is_directory)
        for name, found in tops.items()
        if found
    ]


def branch_of(output: Output) -> Branch:
    """What the directory is to hold."""
    trunk: Branch = {}
    for piece in output.pieces:
        here = trunk
        parts = piece.name[len(output.name) + 1 :].split("/") if piece.name != output.name else []
        for part in parts[:-1] if not piece.is_directory else parts:
            here = cast("Branch", here.setdefault(part, {}))
        if not piece.is_directory:
            here[parts[-1]] = None
    return trunk
