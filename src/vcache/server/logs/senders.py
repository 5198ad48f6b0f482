"""What programs that ship logs speak: OTLP, Loki's push, Elasticsearch's `_bulk`; one class each.

Each answers so that its client drops what can never be taken, and sends again what can be later: 400 is
dropped by all, 429 and 503 are tried again by all.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from vcache.server.logs.taking import BODY_BYTES
from vcache.server.phrases import BEARER, CHALLENGE
from vcache.server.refused import Refusal, Refused

if TYPE_CHECKING:
    from vcache.logs.receive.base import Parsed
    from vcache.server.dialect import Answer
    from vcache.server.exchange import Exchange
    from vcache.server.logs.taking import Taking

__all__ = ["LokiPush", "OtlpLogs", "told_to_wait"]

_JSON: Final = "application/json"
_PROTOBUF: Final = "application/x-protobuf"
_RETRY: Final = {Refusal.CROWDED: "1", Refusal.BUSY: "2", Refusal.FULL: "30"}


def told_to_wait(refused: Refused) -> tuple[int, list[tuple[str, str]]]:
    """The status of a refusal for who sends logs, and when to try again where that may help.

    A full disk is 503: clients take 507 for final, and people make room.
    """
    after = _RETRY.get(refused.kind)
    status = 503 if refused.kind is Refusal.FULL else refused.kind.value
    return status, [("retry-after", after)] if after else []


def media_of(exchange: Exchange, known: tuple[str, ...]) -> str:
    """The type of a body.

    Raises:
        Refused: it is none of those.
    """
    kind = (exchange.header("content-type") or "").partition(";")[0].strip().lower()
    if kind not in known:
        raise Refused(Refusal.MEDIA, f"Content-Type: {kind[:60]!r}: one of {', '.join(known)}")
    return kind


class OtlpLogs:
    """OTLP/HTTP: protobuf or JSON, https://opentelemetry.io/docs/specs/otlp/#otlphttp."""

    name = "otlp"

    def __init__(self, taking: Taking) -> None:
        self._taking = taking

    def claims(self, path: str) -> bool:
        """Whether it is where exporters send logs."""
        return path in ("/v1/logs", "/otlp/v1/logs")  # the second is Loki's own

    def needs_token(self, method: str, path: str) -> bool:
        """Always."""
        return True

    async def answer(self, exchange: Exchange) -> None:
        """Take a request in.

        Raises:
            Refused: it is not taken.
        """
        from vcache.logs.receive import otlp

        if exchange.method != "POST":
            raise Refused(Refusal.METHOD, f"{exchange.method} {exchange.path}: only POST means something")
        kind = media_of(exchange, (_PROTOBUF, _JSON))
        parse = otlp.of_json if kind == _JSON else otlp.of_protobuf
        taken = await self._taking.take(exchange, lambda body, now_ns: parse(body, now_ns=now_ns))
        rejected = taken.parsed.rejected
        reason = "; ".join(f"{each.place}: {each.reason}" for each in rejected[:5])
        body = otlp.answer(len(rejected), reason, is_json=kind == _JSON)
        await exchange.answer(200, body, (("content-type", kind),))

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """A google.rpc.Status in JSON, which exporters log, and read nothing of but the status."""
        status, headers = told_to_wait(refused)
        headers.append(("content-type", _JSON))
        if refused.kind is Refusal.UNAUTHENTICATED:
            headers.append(BEARER)
        if refused.kind is Refusal.METHOD:
            headers.append(("allow", "POST"))
        code = _RPC.get(refused.kind, 2)
        return status, headers, json.dumps({"code": code, "message": str(refused)}).encode()


_RPC: Final = {
    Refusal.MALFORMED: 3, Refusal.MEDIA: 3, Refusal.TOO_LARGE: 3, Refusal.FORBIDDEN: 7, Refusal.CROWDED: 8,
    Refusal.FULL: 8, Refusal.METHOD: 12, Refusal.BROKEN: 13, Refusal.BUSY: 14, Refusal.UNAUTHENTICATED: 16,
}  # fmt: skip


class LokiPush:
    """Loki's push, and what its clients ask before: https://grafana.com/docs/loki/latest/reference/loki-http-api/."""

    name = "loki"

    def __init__(self, taking: Taking, *, version: str) -> None:
        self._taking = taking
        self._build = json.dumps({
            "version": "2.9.0", "revision": f"vcache-{version}", "branch": "", "buildUser": "", "buildDate": "",
            "goVersion": "",
        }).encode()  # fmt: skip

    def claims(self, path: str) -> bool:
        """Whether it is where its clients push, or see whether it is there."""
        return path.startswith("/loki/api/v1/") or path in ("/api/prom/push", "/ready", "/loki/ready")

    def needs_token(self, method: str, path: str) -> bool:
        """To push, not to see whether anybody is there."""
        return not path.endswith("ready")

    async def answer(self, exchange: Exchange) -> None:
        """Take a request in.

        Raises:
            Refused: it is not taken, or nothing we answer.
        """
        path = exchange.path
        if path.endswith("/push"):
            if exchange.method != "POST":
                raise Refused(Refusal.METHOD, f"{exchange.method} {path}: only POST means something")
            await self._push(exchange)
        elif exchange.method not in ("GET", "HEAD"):
            raise Refused(Refusal.METHOD, f"{exchange.method} {path} means nothing")
        elif path.endswith("ready"):
            await exchange.answer(200, b"ready\n", (("content-type", "text/plain; charset=utf-8"),))
        elif path.endswith("/status/buildinfo"):
            await exchange.answer(200, self._build, (("content-type", _JSON),))
        else:
            raise Refused(
                Refusal.ABSENT, f"{path!r:.200}: of Loki's API only the push is there; ask /api/v1/logs/query"
            )

    async def _push(self, exchange: Exchange) -> None:
        from vcache.logs.receive import loki

        kind = media_of(exchange, (_JSON, _PROTOBUF, ""))

        def parse(body: bytes, now_ns: int) -> Parsed:
            if kind == _JSON:
                return loki.of_json(body, now_ns=now_ns)
            return loki.of_protobuf(loki.unsnapped(body, BODY_BYTES), now_ns=now_ns)

        await self._taking.take(exchange, parse, is_snappy=kind != _JSON)
        await exchange.answer(204)

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """A line of words; Basic is what its clients know."""
        status, headers = told_to_wait(refused)
        headers.append(("content-type", "text/plain; charset=utf-8"))
        if refused.kind is Refusal.UNAUTHENTICATED:
            headers.append(CHALLENGE)
        if refused.kind is Refusal.METHOD:
            headers.append(("allow", "POST" if path.endswith("/push") else "GET, HEAD"))
        return status, headers, f"{refused}\n".encode()
