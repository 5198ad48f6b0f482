"""The call of a logger whose only sink is a store: one microsecond, most of it spent in C.

What a logger says at a level is compiled to one closure. What is out of the ordinary (a secret's name, a letter
that a secret has, a value that msgpack has not, an exception, a full ring) is for the way that takes its time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from time import time_ns
from typing import Final

from vcache.hash import frame_checksum
from vcache.logs.front.context import CURRENT, OTEL, otel_fields
from vcache.logs.front.frames import FRAME_BYTES, HEADS, opening
from vcache.logs.front.secrets import Redactor
from vcache.logs.front.storing import StoreSink
from vcache.query.syntax import Value
from vcache.serialize.plain import pack_exactly

__all__ = ["Emit", "ring_call"]

Emit = Callable[..., None]

_pack: Final = pack_exactly()
_USUAL_BYTES: Final = len(HEADS)


def ring_call(
    sink: StoreSink, level: int, source: str, bound: Mapping[str, Value], redactor: Redactor, slowly: Emit
) -> Emit:
    """The method of a logger at a level.

    Args:
        slowly: the same, for what is out of the ordinary: called with level, message, fields.
    """
    ring = sink.ring
    cursor, data, mask, size_bytes = ring.cursor, ring.data, ring.size_bytes - 1, ring.size_bytes
    start = opening(level, source, bound)
    alone = start + b"\xc0"
    # Locals of the closure: a global costs twice as much, an attribute three times.
    pack, checksum, now, heads, modules = _pack, frame_checksum, time_ns, HEADS, sys.modules
    around, put, clean, is_clean = CURRENT.get, sink.put, redactor.clean_texts, redactor.is_clean
    are_clean = redactor.clean_names.issuperset

    def emit(message: str, /, **fields: object) -> None:
        try:
            if are_clean(fields) and (message in clean or is_clean(message)):
                for value in fields.values():
                    if value not in clean and not is_clean(value):
                        break
                else:
                    if OTEL in modules:
                        fields = {**otel_fields(), **fields}
                    context, said = around(), pack([now(), message, fields])
                    payload = alone + said if context is None else start + context.packed + said
                    count = len(payload)
                    if count < _USUAL_BYTES:
                        size = count + FRAME_BYTES
                        # One line, without a call in it: no other thread and no signal handler runs within.
                        cursor.at = end = at + size if (at := cursor.at) + size <= cursor.limit else at
                        if end != at:
                            place = at & mask
                            if place + size <= size_bytes:
                                data[place : place + size] = heads[count] + checksum(payload, at) + payload
                            else:
                                ring.place(heads[count] + checksum(payload, at) + payload, at)
                            return
                    put(payload, level)
                    return
        except Exception:  # noqa: S110 - a value of somebody's own class, text that is no UTF-8: no matter what
            pass
        slowly(level, message, fields)

    return emit
