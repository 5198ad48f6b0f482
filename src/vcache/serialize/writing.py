"""Typed msgpack, writing: any value of plain data to one document, with large buffers beside it.

It must not know codecs by name, compression or stores. What msgpack has natively is written
by its C code alone; for the rest it calls the rules of the neighbouring modules. See
`wire` for the bytes.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Final

from msgpack import ExtType, Packer

from vcache.errors import EncodeError
from vcache.kit.plugin import CODECS
from vcache.serialize import classes, failures, registry, scalars
from vcache.serialize.wire import BUFFERS, BUFFERS_HEAD, TYPED, Code, class_number, padding_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from typing_extensions import Buffer

    from vcache.serialize.classes import Plan


__all__ = ["encode", "is_known"]

_EXCEPTION: Final = ExtType(Code.EXCEPTION, b"")
_FOREIGN: Final = ExtType(Code.FOREIGN, b"")
_U64: Final = struct.Struct("<Q")
_FIRST_BUFFER_BYTES: Final = 4 << 10
# A packer keeps the buffer of its largest document: above this it is not kept for reuse.
_KEPT_BYTES: Final = 1 << 20

_NATIVE: Final = frozenset({type(None), bool, int, float, str, bytes, bytearray, memoryview, list, dict})

REMEDY: Final = f'codec="pickle" in a Cache(..., allow_pickle=True), or register a codec under the entry point group {CODECS}'


class Encoder:
    """Writes one document at a time; kept for reuse, as making a packer costs as much as packing."""

    def __init__(self, errors: str | None = None) -> None:
        self._packer = Packer(
            default=self._rule, strict_types=True, unicode_errors=errors, buf_size=_FIRST_BUFFER_BYTES
        )
        self._is_typed = False
        self._shields = False
        self._classes: dict[type, tuple[ExtType, Plan]] = {}  # those described already
        self._buffers: list[Sequence[Buffer]] = []
        self._written: list[list[object]] = []

    def encode(self, value: object) -> list[Buffer]:
        """The content of a value, in pieces."""
        document: bytes = self._packer.pack(value)
        if (b"\xc4" in document or b"\xc5" in document or b"\xc6" in document) and (
            _holds_bytearray([value]) or any(map(_holds_bytearray, self._written))
        ):
            document = self._shielded(value)
        if not self._is_typed:
            return [document]
        if not self._buffers:
            return [TYPED + document]
        return self._beside(document)

    def reset(self) -> None:
        """Forget the last document."""
        if self._is_typed:
            self._is_typed = self._shields = False
            self._classes.clear()
            self._buffers.clear()
            self._written.clear()

    def add_buffer(self, parts: Sequence[Buffer]) -> int:
        """Keep a buffer, made of pieces, beside the document; its number."""
        self._buffers.append(parts)
        return len(self._buffers) - 1

    def sort_key(self, value: object) -> bytes:
        """Bytes that order values of any type, the same in every process."""
        return b"".join(Encoder("surrogatepass").encode(value))

    def _rule(self, value: object) -> object:
        """What msgpack is to write in place of a value that it does not know."""
        cls = type(value)
        again = self._classes.get(cls)
        if again is not None:
            items: object = [again[0], *again[1].parts(value)]
        else:
            self._is_typed = True
            rule = scalars.RULES.get(cls) or _learn(cls)
            items = self._object(value) if rule is None else rule(value, self)
            if type(items) is not list:
                return items
        self._written.append(items)  # type: ignore[arg-type]  # a list, as was just seen
        return _shield(items) if self._shields else items

    def _object(self, value: object) -> list[object]:
        """The items of an instance of a user's class, an exception, or a foreign value."""
        cls = type(value)
        refusal: EncodeError | None = None
        try:
            plan = classes.plan_of(cls)
        except EncodeError as error:  # a codec of a third party may still take it
            plan, refusal = None, error
        if plan is not None:
            items = [ExtType(Code.CLASS, plan.description), *plan.parts(value)]
            self._classes[cls] = ExtType(Code.CLASS_AGAIN, class_number(len(self._classes))), plan
            return items
        if isinstance(value, Exception):
            return [_EXCEPTION, *failures.parts_of_exception(value)]
        codec = registry.codec_for(value)
        if codec is not None:
            return [_FOREIGN, codec.name, b"".join(registry.dump_with(codec, value))]
        raise refusal or EncodeError(_unknown(value))

    def _shielded(self, value: object) -> bytes:
        """The document once more, this time with bytearrays behind shields.

        msgpack writes a bytearray as bytes without asking. Nothing but a walk through the
        value finds one; it is made only if the document holds a mark of bytes at all, and
        this second pass only if the walk found one.
        """
        self._classes.clear()
        self._buffers.clear()
        self._written.clear()
        self._shields = self._is_typed = True
        document: bytes = self._packer.pack(_shield(value))
        return document

    def _beside(self, document: bytes) -> list[Buffer]:
        """The pieces of a content whose document refers to buffers."""
        sizes = [sum(memoryview(part).nbytes for part in parts) for parts in self._buffers]
        head = BUFFERS_HEAD.pack(BUFFERS, 0, len(sizes), len(document))
        head += b"".join(map(_U64.pack, sizes)) + document
        pieces: list[Buffer] = [head + bytes(padding_bytes(len(head)))]
        for parts, size_bytes in zip(self._buffers, sizes, strict=True):
            pieces.extend(part for part in parts if memoryview(part).nbytes)
            pieces.append(bytes(padding_bytes(size_bytes)))
        return [piece for piece in pieces[:-1] if memoryview(piece).nbytes]


class _Shield:
    """Stands in for a bytearray."""

    __slots__ = ("value",)

    def __init__(self, value: bytearray) -> None:
        self.value = value


def _put_shield(value: _Shield, _: object) -> ExtType:
    return ExtType(Code.BYTEARRAY, bytes(value.value))


def _put_described(value: failures.Described, _: object) -> list[object]:
    return [_EXCEPTION, *failures.parts_without_arguments(value.error)]


scalars.RULES[_Shield] = _put_shield
scalars.RULES[failures.Described] = _put_described


def _holds_bytearray(items: list[object]) -> bool:
    """Whether a bytearray is among the items, or in plain lists and dicts below them."""
    todo: list[list[object]] = [items]
    while todo:
        layer = todo.pop()
        kinds = set(map(type, layer))
        if bytearray in kinds:
            return True
        if list in kinds or dict in kinds:
            todo.extend(item for item in layer if type(item) is list)
            todo.extend(list(item.values()) for item in layer if type(item) is dict)
    return False


def _shield(value: object) -> object:
    if type(value) is bytearray:
        return _Shield(value)
    if type(value) is list:
        return [_shield(item) for item in value]
    if type(value) is dict:
        return {key: _shield(item) for key, item in value.items()}
    return value


def _learn(cls: type) -> Callable[..., object] | None:
    """The rule of a type that is named, not imported; remembered for the next value."""
    rule: Callable[..., object] | None = None
    package = cls.__module__.partition(".")[0]
    if package in ("numpy", "pyarrow"):
        # Its values are here, so it is imported: these modules cost nothing more.
        if package == "numpy":
            from vcache.serialize.arrays import rule_for
        else:
            from vcache.serialize.arrow import rule_for
        rule = rule_for(cls)
    elif cls.__qualname__ in scalars.RULES_BY_NAME:
        module, named = scalars.RULES_BY_NAME[cls.__qualname__]
        if getattr(sys.modules.get(module), cls.__qualname__, None) is cls:
            rule = named
    if rule is not None:
        scalars.RULES[cls] = rule
    return rule


def is_known(value: object) -> bool:
    """Whether a value's own type, though not yet all that is in it, is one that has a rule."""
    cls = type(value)
    if cls in _NATIVE or cls in scalars.RULES or _learn(cls) is not None or isinstance(value, Exception):
        return True
    try:
        return classes.plan_of(cls) is not None
    except EncodeError:
        return False


def _unknown(value: object) -> str:
    cls = type(value)
    name = cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
    broken = "".join(f"; {failure}" for failure in registry.failures())
    return f"a {name} cannot be stored; remedy: {REMEDY}{broken}"


_idle: list[Encoder] = []  # append and pop are atomic


def encode(value: object) -> list[Buffer]:
    """The content of a value, in pieces; numbers and strings copied, large buffers not.

    Raises:
        EncodeError: some part of it cannot be stored; the message says which.
    """
    try:
        encoder = _idle.pop()
    except IndexError:
        encoder = Encoder()
    try:
        content = encoder.encode(value)
    except UnicodeEncodeError:
        # Lone surrogates, as in file names that are not UTF-8. Asking for them always would
        # cost every other document a quarter of its speed.
        return Encoder("surrogatepass").encode(value)
    except (ValueError, RuntimeError) as error:  # too deep, too long, or changed by another thread meanwhile
        raise EncodeError(f"the value cannot be stored: {error}; does it refer to itself?") from error
    encoder.reset()
    if len(content[0]) <= _KEPT_BYTES:  # type: ignore[arg-type]  # it is bytes and holds the document
        _idle.append(encoder)
    return content
