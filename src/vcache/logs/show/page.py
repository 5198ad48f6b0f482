"""A page of HTML that needs nothing else and runs nothing: for a mail, an artifact of CI, a browser."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING, Final, cast

from vcache.kit.ansi import safe_string
from vcache.logs.base import Gap
from vcache.logs.record import Record
from vcache.logs.show.base import Column, Look, Row, Sink, put
from vcache.logs.show.buckets import Quiet
from vcache.logs.show.lines import logfmt_pair
from vcache.logs.show.values import iso, level_word, mark_words, moment, shown

if TYPE_CHECKING:
    from vcache.query.syntax import Value

__all__ = ["HtmlWriter"]

# Nothing is loaded and no script runs, whatever should slip through.
_HEAD: Final = """\
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Logs</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark"><style>
body{font:13px/1.5 ui-monospace,monospace;margin:1rem}table{border-collapse:collapse}
th{text-align:left;position:sticky;top:0;background:Canvas}td,th{padding:0 .8em 0 0;vertical-align:top}
td.n{text-align:right}td.m{white-space:pre-wrap;overflow-wrap:anywhere}time,.f{opacity:.65;white-space:nowrap}
.f{white-space:normal}.trace,.debug{opacity:.65}.note{color:#08a}.warning{color:#a60}.error,.gap{color:#c22}
.critical{color:#c22;font-weight:bold}
</style></head><body><table>
"""


class HtmlWriter:
    """See the module. What a browser does not close itself is closed by `close`."""

    def __init__(self, stream: Sink, columns: tuple[Column, ...] | None, look: Look) -> None:
        self._stream, self._columns, self._look = stream, columns, look
        self._has_head = False
        self._quiet = Quiet(columns or ())

    def write(self, rows: Iterable[Row]) -> None:
        put(self._stream, self._parts(rows))

    def close(self, gaps: Sequence[Gap] = ()) -> None:
        self.write(())
        said = (f'<p class="gap">{_text(_gap_words(gap))}</p>\n' for gap in gaps)
        put(self._stream, ["</table>\n", *said, "</body></html>\n"])

    def _parts(self, rows: Iterable[Row]) -> Iterator[str]:
        if not self._has_head:
            self._has_head = True
            names = [column.name for column in self._columns or ()]
            heading = names or ["time", "level", "source", "message", ""]
            yield (
                _HEAD
                + "<thead><tr>"
                + "".join([f"<th>{_text(name)}</th>" for name in heading])
                + "</tr></thead>\n"
            )
        if self._columns is None:
            yield from (self._record(cast("Record", row)) for row in rows)
        else:
            yield from map(self._row, self._quiet.filled(cast("Iterable[tuple[Value, ...]]", rows)))

    def _record(self, record: Record) -> str:
        word = level_word(record.level)
        names = record.fields if self._look.fields is None else self._look.fields
        facts = [f"({record.repeats}x)"] if record.repeats != 1 else []
        facts += [f"[{mark}]" for mark in mark_words(record.marks)]
        facts += [logfmt_pair(name, record.fields[name]) for name in names if name in record.fields]
        return (
            f"<tr><td>{self._time(record.at_ns)}</td><td class={word or 'unset'}>{word}</td>"
            f'<td>{_text(record.source)}</td><td class="m">{_text(record.message)}</td>'
            f'<td class="f">{_text(" ".join(facts))}</td></tr>\n'
        )

    def _row(self, row: Row) -> str:
        pairs = zip(cast("tuple[Column, ...]", self._columns), row, strict=True)
        return f"<tr>{''.join([self._cell(column, cast('Value', value)) for column, value in pairs])}</tr>\n"

    def _cell(self, column: Column, value: Value) -> str:
        if value is None:
            return "<td></td>"
        if column.kind == "time" and isinstance(value, int):
            return f"<td>{self._time(value)}</td>"
        text = _text(str(shown(column, value)))
        if column.kind == "level":
            return f'<td class="{text}">{text}</td>'
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return f'<td class="{"n" if is_number else "m"}">{text}</td>'

    def _time(self, time_ns: int) -> str:
        return f'<time datetime="{iso(time_ns)}">{moment(time_ns, is_utc=self._look.is_utc)}</time>'


def _gap_words(gap: Gap) -> str:
    many = f"{gap.records} records" if gap.records >= 0 else "records"
    return f"{many} cannot be read: {gap.place}: {gap.reason}"


def _text(text: str) -> str:
    return escape(safe_string(text))
