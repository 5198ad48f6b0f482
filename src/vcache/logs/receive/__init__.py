"""Bytes ▷ records: what others send, in the formats in which they send it. Pure; no sockets, no threads.

    by_name("syslog").parse(body, now_ns=…)      a whole body ▷ Parsed(records, rejected)
    by_name("syslog").stream()                   a stream: feed, flush, end ▷ records

What of a format becomes what of a record: docs/reference/log-formats.md.
"""

from __future__ import annotations

from vcache.logs.receive.base import MESSAGE_BYTES, Format, Parsed, Rejection, Stream
from vcache.logs.receive.formats import NAMES, by_name

__all__ = ["MESSAGE_BYTES", "NAMES", "Format", "Parsed", "Rejection", "Stream", "by_name"]
