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
from vcache.logs.front.secrets import MARKERS, SHAPE, Redactor
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
    pack, checksum, now, heads, shaped = _pack, frame_checksum, time_ns, HEADS, SHAPE
    around, are_clean, modules, put = CURRENT.get, redactor.clean_names.issuperset, sys.modules, sink.put
    m1, m2, m3, m4, m5, m6, m7, m8, m9, m10, m11, m12, m13, m14, m15, m16, m17, m18, m19, m20 = MARKERS

    def emit(message: str, /, **fields: object) -> None:
        if not are_clean(fields):
            slowly(level, message, fields)
            return
        if OTEL in modules:
            fields = {**otel_fields(), **fields}
        try:
            said = pack([now(), message, fields])
        except (TypeError, ValueError, OverflowError):
            slowly(level, message, fields)
            return
        text = said.translate(shaped).decode("latin-1")
        if (
            m1 in text or m2 in text or m3 in text or m4 in text or m5 in text or m6 in text
            or m7 in text or m8 in text or m9 in text or m10 in text or m11 in text or m12 in text
            or m13 in text or m14 in text or m15 in text or m16 in text or m17 in text or m18 in text
            or m19 in text or m20 in text
        ):  # fmt: skip
            slowly(level, message, fields)
            return
        context = around()
        payload = alone + said if context is None else start + context.packed + said
        count = len(payload)
        if count < _USUAL_BYTES:
            count += FRAME_BYTES
            # One line, without a call in it: no other thread and no signal handler runs within (ring.py).
            cursor.at = end = at + count if (at := cursor.at) + count <= cursor.limit else at
            if end != at:
                place = at & mask
                if place + count <= size_bytes:
                    data[place : place + count] = heads[count - FRAME_BYTES] + checksum(payload, at) + payload
                else:
                    ring.place(heads[count - FRAME_BYTES] + checksum(payload, at) + payload, at)
                return
        put(payload, level)

    return emit
