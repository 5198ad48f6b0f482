"""Records and what a writer makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Final

from vcache.logs.base import Gap
from vcache.logs.record import Mark, Record
from vcache.logs.show.base import Column, Look
from vcache.logs.show.formats import writer
from vcache.query.syntax import Value

AT: Final = 1_795_000_000_123_456_789  # 2026-11-18T11:06:40.123456789Z

WARNING: Final = Record(
    AT, 13, "gcc", "unused variable 'x'", {"file": "a.c", "line": 3}, seen_ns=AT + 1, id="01a20004-0"
)
HOSTILE: Final = Record(
    AT, 17, "=cmd", "two\nlines\x1b]0;t\x07 \u202e\udcff <script>", {"message": "m", "a b": 'x="1"\n'},
    int(Mark.BYTES | Mark.FUTURE), 3,
)  # fmt: skip
BARE: Final = Record(-1)
GAP: Final = Gap("segments/x.seg at 4096", "its checksum differs", 12, AT, AT)

TIMES: Final = (Column("@time", "time", 60 * 10**9), Column("level", "level"), Column("count"))


def bytes_of(
    format: str, rows: Sequence[Record] | Sequence[tuple[Value, ...]], columns: Sequence[Column] | None = None,  # noqa: A002
    *, gaps: Sequence[Gap] = (), **look: object,
) -> bytes:  # fmt: skip
    stream = BytesIO()
    shown = writer(format, stream, columns, look=Look(**look))  # type: ignore[arg-type]
    for row in rows:  # one by one: what comes in pieces must look the same
        shown.write([row])
    shown.close(gaps)
    return stream.getvalue()


def text_of(*args: object, **kwargs: object) -> str:
    return bytes_of(*args, **kwargs).decode()  # type: ignore[arg-type]
