"""ccache's HTTP storage: `GET|HEAD|PUT|DELETE /ccache/<key>`.

Keys are 20 bytes: 33 characters (four hexadecimal ones, then base32hex) up to 4.12, 40 hexadecimal
ones since 4.13. Three layouts spell them: `subdirs` `xx/rest`, `flat`, and `bazel`, `ac/` and the 40
characters with their first 24 once more. All lead to one value. Any 2xx is success, anything else a
miss or a counted error; a compilation never fails. An answer without a body is an error to 4.13.3, so
an empty value is not taken (protocols: 3.c).
"""

from __future__ import annotations

import re
from typing import Final

from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange
from vcache.server.phrases import READS, plain
from vcache.server.refused import Refusal, Refused

__all__ = ["Ccache", "key_in"]

_PREFIX: Final = "/ccache/"
_PATH: Final = re.compile(
    r"/ccache/(?:ac/(?P<bazel>([0-9a-f]{24})[0-9a-f]{16})\2|(?P<one>[0-9a-v]{2})/?(?P<rest>[0-9a-v]{31}|[0-9a-f]{38}))"
)


def key_in(path: str) -> str | None:
    """The key that a path of any layout spells."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    return match["bazel"] or match["one"] + match["rest"]


class Ccache:
    """What ccache says and expects. Its place is before Bazel's dialect, whose paths one layout has."""

    name = "ccache"

    def claims(self, path: str) -> bool:
        """Whether a path is ccache's."""
        return path.startswith(_PREFIX)

    def needs_token(self, method: str, path: str) -> bool:
        """Always."""
        return True

    async def answer(self, exchange: Exchange) -> None:
        """Give, keep or forget one value."""
        key = key_in(exchange.path)
        if key is None:
            raise Refused(Refusal.MALFORMED, f"{exchange.path!r:.200} is no key of ccache's")
        if exchange.method in READS:
            found = await exchange.find("ccache", key)
            await (exchange.absent() if found is None else exchange.send(found))
        elif exchange.method == "PUT":
            if exchange.length_bytes == 0:
                raise Refused(Refusal.MALFORMED, "an empty value, which ccache takes for an error")
            kept = await exchange.keep("ccache", key)
            await exchange.answer(201 if kept.is_new else 204)
        elif exchange.method == "DELETE":
            await exchange.answer(204 if await exchange.delete("ccache", key) else 404)
        else:
            raise Refused(Refusal.METHOD, f"{exchange.method} is not part of ccache's protocol")

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As it is: ccache counts an error and compiles."""
        return plain(refused)
