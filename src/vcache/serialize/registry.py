"""Codecs of third parties: registered by a call, or offered by the entry point group `vcache.codecs`.

It must not know any format. Plug-ins are imported only when a value is met that no built-in
takes, or content in a codec that nobody registered. One that fails is skipped and named in the
error that its absence leads to.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from vcache.errors import DecodeError, EncodeError, UsageError
from vcache.kit import plugin

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Buffer

__all__ = [
    "BUILT_IN",
    "Codec",
    "codec_for",
    "codec_named",
    "dump_with",
    "failures",
    "is_codec",
    "load_with",
    "names",
    "register",
    "unregister",
]

BUILT_IN: Final = frozenset({"bytes", "str", "msgpack", "numpy", "arrow", "error", "pickle"})
_MAX_NAME_BYTES: Final = 255  # an entry's head has one byte for the length


@runtime_checkable
class Codec(Protocol):
    """What turns values of some types into content and back. All four members are required.

    `takes` must be quick and without effects: it is asked about values of any type. `load` is
    given a read-only buffer that may come from an untrusted place; it raises ValueError for
    content that is not what `dump` makes.
    """

    @property
    def name(self) -> str:
        """Its name in the head of every entry it makes. It never changes its meaning."""

    def takes(self, value: object) -> bool:
        """Whether `dump` takes this value."""

    def dump(self, value: object) -> Sequence[Buffer]:
        """The value's content, in pieces."""

    def load(self, content: Buffer) -> object:
        """The value of a content."""


_lock = threading.Lock()  # guards changes of the table; readers take a snapshot
_codecs: dict[str, Codec] = {}


def register(codec: Codec) -> None:
    """Use a codec, after all built-in ones and those registered before.

    Raises:
        UsageError: it lacks a member of `Codec`, or its name is empty, too long or taken.
    """
    if not isinstance(codec, Codec) or isinstance(codec, type):
        raise UsageError(
            f"{codec!r:.200} is no codec: it needs name, takes, dump and load (vcache.serialize.Codec)"
        )
    name = codec.name
    if not isinstance(name, str) or not 0 < len(name.encode()) <= _MAX_NAME_BYTES:
        raise UsageError(f"a codec's name is a str of 1 to {_MAX_NAME_BYTES} bytes, not {name!r:.80}")
    with _lock:
        if name in BUILT_IN or _codecs.get(name, codec) is not codec:
            raise UsageError(f"there is a codec {name!r} already: give {codec!r:.200} another name")
        _codecs[name] = codec


def unregister(name: str) -> None:
    """Forget a registered codec, if there is one of this name."""
    with _lock:
        _codecs.pop(name, None)


def codec_for(value: object) -> Codec | None:
    """The first codec that takes a value: registered ones, then plug-ins by name."""
    for codec in list(_codecs.values()):
        if _takes(codec, value):
            return codec
    for offered in plugin.load_all(plugin.CODECS).found.values():
        candidate = _instance(offered)
        if candidate is not None and candidate.name not in BUILT_IN and _takes(candidate, value):
            return candidate
    return None


def codec_named(name: str) -> Codec:
    """The codec of a name.

    Raises:
        DecodeError: nobody offers it, or the plug-in that does is broken.
    """
    codec = _codecs.get(name)
    if codec is not None:
        return codec
    for offered in plugin.load_all(plugin.CODECS).found.values():
        candidate = _instance(offered)
        if candidate is not None and candidate.name == name:
            return candidate
    broken = "".join(f"; {failure}" for failure in failures())
    raise DecodeError(f"no codec {name!r:.80} is registered or offered under {plugin.CODECS}{broken}")


def is_codec(name: str) -> bool:
    """Whether there is a codec of a name. No plug-in is loaded for a built-in one."""
    return name in BUILT_IN or name in _codecs or name in names()


def names() -> tuple[str, ...]:
    """The names of all codecs that there are."""
    offered = map(_instance, plugin.load_all(plugin.CODECS).found.values())
    plugged = (codec.name for codec in offered if codec is not None)
    return tuple(sorted({*BUILT_IN, *_codecs, *plugged}))


def dump_with(codec: Codec, value: object) -> list[Buffer]:
    """What a third party's codec makes of a value.

    Raises:
        EncodeError: the codec fails, or gives no buffers.
    """
    try:
        return [memoryview(part).cast("B") for part in codec.dump(value)]
    except Exception as error:  # foreign code: its failure is that of the value
        raise EncodeError(
            f"codec {codec.name!r} failed on a {type(value).__qualname__}: {error!r}"
        ) from error


def load_with(codec: Codec, content: Buffer) -> object:
    """What a third party's codec makes of a content.

    Raises:
        DecodeError: the codec fails.
    """
    try:
        return codec.load(content)
    except Exception as error:  # foreign code: whatever it raises, the content is a miss
        raise DecodeError(
            f"codec {codec.name!r} refuses {memoryview(content).nbytes} bytes: {error!r}"
        ) from error


def failures() -> tuple[str, ...]:
    """One sentence for each codec plug-in that cannot be used."""
    loaded = plugin.load_all(plugin.CODECS)
    shapeless = (
        f"plug-in {name!r} ({plugin.CODECS}) is no codec: it needs name, takes, dump and load"
        for name, offered in loaded.found.items()
        if _instance(offered) is None
    )
    return (*loaded.failures, *shapeless)


def _takes(codec: Codec, value: object) -> bool:
    try:
        return bool(codec.takes(value))
    except Exception:  # foreign code, asked about a value it may never have thought of
        return False


_instances: dict[int, tuple[object, Codec | None]] = {}


def _instance(offered: object) -> Codec | None:
    """The codec a plug-in offers: itself, or what its class gives when called."""
    known = _instances.get(id(offered))
    if known is not None and known[0] is offered:
        return known[1]
    found = offered
    if isinstance(offered, type):
        try:
            found = offered()
        except Exception:  # foreign code: reported by failures()
            found = None
    codec = found if isinstance(found, Codec) else None
    _instances[id(offered)] = (offered, codec)
    return codec
