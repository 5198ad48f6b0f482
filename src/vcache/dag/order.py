"""A command as it travels to a worker: plain data, in words that hold everywhere.

It knows nothing of who sends it, nor of who carries it out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from vcache.kit.data import dataclass
from vcache.portable import ROOT

__all__ = ["VERSION", "Order", "expanded", "pack", "unpack", "wrong_version"]

VERSION: Final = 1
"""Of what is said between client and worker."""

_TOKEN: Final = re.compile(rf"{ROOT}(@?)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A command to be carried out, as plain data. Names are below the root; texts have `@root@` for it.

    Attributes:
        order: its id, to stop it by.
        label: what it is for.
        cache: the address that content goes through.
        project: names the trees it may have.
        root: the client's own root, as words for people name it.
        listings: digests of listings of the project's files; later ones hold good.
        rows: (name, mode, content in hex) of what it reads besides.
        more: the digest of a listing of such rows; "" for none.
        reads: names of what it says that it reads.
        same: (path or name, digest in hex) of what must be the same here: tools, files outside.
        outs: what it makes; a directory by its bare name.
        environ: variables to be set, or removed where None.
    """

    order: str
    label: str
    cache: str
    project: str
    root: str
    listings: tuple[str, ...] = ()
    rows: tuple[tuple[str, int, str], ...] = ()
    more: str = ""
    reads: tuple[str, ...] = ()
    same: tuple[tuple[str, str], ...] = ()
    outs: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    shell: str = ""
    cwd: str = ""
    environ: Mapping[str, str | None]
    depfile: str = ""
    deps: str = ""
    msvc_prefix: str = ""
    rspfile: str = ""
    rsp_content: str = ""
    timeout_s: float | None = None


def pack(order: Order) -> bytes:
    """An order as it travels: text that any worker reads without running anything of it."""
    words = {name: getattr(order, name) for name in Order.__slots__}
    return json.dumps({"version": VERSION, **words}).encode("ascii")


def unpack(packed: bytes) -> Order | str:
    """What `pack` packed; in words why it cannot be read."""
    words = json.loads(packed)
    version = words.pop("version")
    if version != VERSION:
        return wrong_version(version)
    for name in ("listings", "outs", "argv", "reads"):
        words[name] = tuple(words[name])
    for name in ("rows", "same"):
        words[name] = tuple(map(tuple, words[name]))
    return Order(**words)


def wrong_version(version: int) -> str:
    """What to do about another version, in words that follow a worker's name."""
    return f"speaks version {VERSION}, and not {version}: install the same vcache everywhere"


def expanded(text: str, root: str) -> str:
    """A portable text with `@root@` replaced by a root; undoes `portable_text`."""
    return _TOKEN.sub(lambda found: ROOT if found[1] else root, text) if ROOT in text else text
