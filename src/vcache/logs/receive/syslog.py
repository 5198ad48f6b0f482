"""syslog, as RFC 3164 tells and RFC 5424 says it, told apart by the message. Pure.

https://www.rfc-editor.org/rfc/rfc3164 describes what was found in 2001, and senders differ from it in
everything: so the year is the nearest one, hosts and times may be missing, or be as rsyslog writes them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from vcache.logs.receive.base import MESSAGE_BYTES, Parsed, as_text, unparsed
from vcache.logs.receive.framing import SyslogFramer
from vcache.logs.receive.guess import level_in
from vcache.logs.receive.times import iso_ns, month_day_ns
from vcache.logs.record import Mark, Record, flat
from vcache.query.levels import CRITICAL, DEBUG, ERROR, INFO, NOTE, WARNING
from vcache.query.syntax import Value

__all__ = ["FACILITIES", "SEVERITIES", "Syslog", "message_of"]

SEVERITIES: Final = (24, 22, CRITICAL, ERROR, WARNING, NOTE, INFO, DEBUG)
"""Levels by the severities of RFC 5424, 6.2.1."""
FACILITIES: Final = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", *(f"local{number}" for number in range(8)),
)  # fmt: skip
_PRIORITIES: Final[Mapping[str, tuple[int, str]]] = {
    str(number): (SEVERITIES[number % 8], FACILITIES[number // 8]) for number in range(192)
}
_MONTHS: Final = frozenset("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
_TAG_CHARS: Final = 128
_NAMES: Final = ("host", "app", "procid", "msgid")


def message_of(data: bytes, *, now_ns: int, source: str = "", utc_offset_s: int = 0) -> Record:
    """The record of one message, of a datagram or a framer.

    Args:
        source: of messages that name no app.
        utc_offset_s: how far east times without a zone are.
    """
    text = as_text(data)
    if text[-1:] in ("\n", "\0", "\r"):
        text = text.rstrip("\r\n\0")
    end = text.find(">", 2, 5) if text[:1] == "<" else -1
    priority = _PRIORITIES.get(text[1:end]) if end > 0 else None
    if priority is None:
        return _without_priority(text, now_ns, source, utc_offset_s)
    if text.startswith("1 ", end + 1):
        found = _new(text, end + 3, priority, now_ns, source)
        if found is not None:
            return found
    return _old(text, end + 1, priority, now_ns, source, utc_offset_s)


# --- RFC 5424 --------------------------------------------------------------------------------


def _new(text: str, at: int, priority: tuple[int, str], now_ns: int, source: str) -> Record | None:
    words = text[at:].split(" ", 5)
    if len(words) < 6:
        return None
    stamp, host, app, procid, msgid, rest = words
    fields: dict[str, Value] = {"facility": priority[1]}
    if host != "-":
        fields["host"] = host
    if app != "-":
        fields["app"] = source = app
    if procid != "-":
        fields["procid"] = procid
    if msgid != "-":
        fields["msgid"] = msgid
    marks = 0
    if rest[:1] == "-":
        end = 1
    else:
        end = _structured(rest, fields)
        fields, is_cut = flat(fields)
        marks = Mark.CUT if is_cut else 0
    if end < 0 or (len(rest) > end and rest[end] != " "):
        return None
    message = rest[end + 1 :]
    if message[:1] == "\ufeff":
        message = message[1:]
    at_ns = iso_ns(stamp)
    if at_ns is None:
        if stamp != "-":
            fields["time"] = stamp
        return Record(now_ns, priority[0], source, message, fields, int(marks | Mark.NO_TIME))
    return tuple.__new__(Record, (at_ns, priority[0], source, message, fields, int(marks), 1, 0, ""))


def _structured(text: str, fields: dict[str, Value]) -> int:
    """Where the structured data ends; -1 when it is none. Its parameters become fields."""
    at = 0
    while text[at : at + 1] == "[":
        at = _element(text, at + 1, fields)
        if at < 0:
            return -1
    return at or -1


def _element(text: str, at: int, fields: dict[str, Value]) -> int:
    close = text.find("]", at)
    if close < 0:
        return -1
    space = text.find(" ", at, close)
    if space < 0:
        fields["sd." + text[at:close]] = True
        return close + 1
    before = f"sd.{text[at:space]}."
    at = space
    while text[at : at + 1] == " ":
        equals = text.find('="', at)
        if equals < 0:
            return -1
        end, value = _quoted(text, equals + 2)
        if end < 0:
            return -1
        fields[before + text[at + 1 : equals]] = value
        at = end
    return at + 1 if text[at : at + 1] == "]" else -1


def _quoted(text: str, at: int) -> tuple[int, str]:
    end = text.find('"', at)
    if end < 0:
        return -1, ""
    if text.find("\\", at, end) < 0:
        return end + 1, text[at:end]
    found: list[str] = []
    while at < len(text) and text[at] != '"':
        if text[at] == "\\" and text[at + 1 : at + 2] in ('"', "\\", "]"):
            at += 1
        found.append(text[at])
        at += 1
    return (at + 1, "".join(found)) if at < len(text) else (-1, "")


# --- RFC 3164 --------------------------------------------------------------------------------


def _old(
    text: str, at: int, priority: tuple[int, str], now_ns: int, source: str, utc_offset_s: int
) -> Record:
    stamp = _stamp(text, at, now_ns, utc_offset_s)
    fields: dict[str, Value] = {"facility": priority[1]}
    if stamp is None:
        # No time, so what follows is as likely a message as a host: a tag is known by its colon.
        at, app = _tag(text, at, fields)
        return Record(now_ns, priority[0], app or source, text[at:], fields, Mark.NO_TIME)
    at_ns, at = stamp
    at, app = _host_and_tag(text, at, fields)
    return Record(at_ns, priority[0], app or source, text[at:], fields)


def _stamp(text: str, at: int, now_ns: int, utc_offset_s: int) -> tuple[int, int] | None:
    """The time that stands there, and where what follows it begins."""
    if text[at : at + 3] in _MONTHS:
        found = month_day_ns(text[at : at + 15], now_ns) if text[at + 15 : at + 16] in (" ", ":") else None
        if found is not None:
            end = at + 16
            return found - utc_offset_s * 10**9, end + (text[end : end + 1] == " ")
        return _odd_stamp(text, at, now_ns, utc_offset_s)
    end = text.find(" ", at, at + 40)
    if end - at >= 19:  # as rsyslog writes them
        found = iso_ns(text[at:end])
        if found is not None:
            is_local = text[at:end][19:].strip(".,0123456789") == ""
            return found - (utc_offset_s * 10**9 if is_local else 0), end + 1
    return None


def _odd_stamp(text: str, at: int, now_ns: int, utc_offset_s: int) -> tuple[int, int] | None:
    """As in "Oct 1 22:14:15", "Oct 11 2026 22:14:15", "Oct 11 22:14:15.123:"."""
    words = text[at : at + 48].split(" ")
    places = [place for place, word in enumerate(words) if word]
    if len(places) < 3:
        return None
    month, day = words[places[0]], words[places[1]]
    year, clock, last = "", words[places[2]], places[2]
    if len(clock) == 4 and clock.isdecimal() and len(places) > 3:
        year, clock, last = clock, words[places[3]], places[3]
    seconds, _, fraction = clock.rstrip(":").partition(".")
    whole = month_day_ns(f"{month} {day} {seconds}", now_ns)
    if whole is not None and year:
        from datetime import datetime

        try:
            moment = datetime.strptime(f"{year} {month} {day} {seconds} +0000", "%Y %b %d %H:%M:%S %z")
        except ValueError:
            return None
        whole = int(moment.timestamp()) * 10**9
    if whole is None or (fraction and not (fraction.isdecimal() and fraction.isascii())):
        return None
    end = at + len(" ".join(words[: last + 1])) + 1
    return whole + int((fraction + "000000000")[:9]) - utc_offset_s * 10**9, end


def _host_and_tag(text: str, at: int, fields: dict[str, Value]) -> tuple[int, str]:
    """Takes "host app[pid]: " of a message; where what it says begins, and the app."""
    space = text.find(" ", at)
    if space < 0:
        return at, ""
    word = text[at:space]
    if word[-1:] == ":" or word[-1:] == "]":  # no host: local senders leave it out
        return _tag(text, at, fields)
    fields["host"] = word
    return _tag(text, space + 1, fields)


def _tag(text: str, at: int, fields: dict[str, Value]) -> tuple[int, str]:
    end = text.find(":", at, at + _TAG_CHARS)
    if end <= at:
        return at, ""
    tag = text[at:end]
    if " " in tag or text[end + 1 : end + 3] == "//":
        return at, ""
    if tag[-1] == "]" and (bracket := tag.find("[")) > 0:
        fields["app"] = app = tag[:bracket]
        fields["procid"] = tag[bracket + 1 : -1]
    else:
        fields["app"] = app = tag
    end += 1
    return end + (text[end : end + 1] == " "), app


def _without_priority(text: str, now_ns: int, source: str, utc_offset_s: int) -> Record:
    """A line of a file that syslogd wrote, or no syslog."""
    stamp = _stamp(text, 0, now_ns, utc_offset_s)
    if stamp is None:
        return unparsed(text, now_ns, source, level=level_in(text))
    fields: dict[str, Value] = {}
    at, app = _host_and_tag(text, stamp[1], fields)
    return Record(stamp[0], level_in(text[at:]), app or source, text[at:], fields)


class Syslog:
    """The format `syslog`."""

    name = "syslog"

    def __init__(self, utc_offset_s: int = 0) -> None:
        self._utc_offset_s = utc_offset_s

    def parse(self, data: bytes, *, now_ns: int, source: str = "") -> Parsed:
        stream = self.stream(source=source)
        return Parsed(stream.feed(data, now_ns=now_ns) + stream.end(now_ns=now_ns), [])

    def stream(self, *, source: str = "") -> SyslogStream:
        return SyslogStream(source, self._utc_offset_s)


class SyslogStream:
    """A stream of `syslog`, as TCP brings it."""

    def __init__(self, source: str, utc_offset_s: int) -> None:
        self._source, self._utc_offset_s = source, utc_offset_s
        self._framer = SyslogFramer()

    def feed(self, data: bytes, *, now_ns: int) -> list[Record]:
        return self._records(self._framer.feed(data), now_ns)

    def flush(self, *, now_ns: int) -> list[Record]:
        return []

    def end(self, *, now_ns: int) -> list[Record]:
        return self._records(self._framer.end(), now_ns)

    def _records(self, messages: list[bytes], now_ns: int) -> list[Record]:
        source, utc_offset_s = self._source, self._utc_offset_s
        found = [
            message_of(each, now_ns=now_ns, source=source, utc_offset_s=utc_offset_s) for each in messages
        ]
        if any(len(each) >= MESSAGE_BYTES for each in messages):
            return [
                record._replace(marks=int(record.marks | Mark.CUT)) if len(each) >= MESSAGE_BYTES else record
                for each, record in zip(messages, found, strict=True)
            ]
        return found
