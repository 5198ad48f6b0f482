"""Turborepo's remote cache: `/v8/artifacts…`, and what `turbo login` and `turbo link` ask.

`x-artifact-duration` (ms) and `x-artifact-tag` of a PUT are given back as they came: a client that signs
rejects an artifact without its tag. Three answers of 5xx in a row open the client's breaker for 30 s, so
that what goes wrong here is 412. The body is a tar in Zstandard (protocols: 3.e; Vercel's REST
interface, "Artifacts").

Signature, version 2: base64 of HMAC-SHA256 over `L(D) L(hash) L(team) L(body)`, each a length as
little-endian u64 and the bytes; D is "artifact-signature:v2", team the id, "" where only a slug is set.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange, Header
from vcache.server.framing import ZstdCheck
from vcache.server.intake import Check
from vcache.server.phrases import CHALLENGE, READS
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import Found

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["SignatureCheck", "Turbo", "signature_start"]

_ARTIFACTS: Final = "/v8/artifacts"
_HASH: Final = re.compile(r"/v8/artifacts/([0-9A-Za-z_-]{1,128})")
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,128}")
_TEAM: Final = re.compile(r"[\w.@-]{0,128}", re.ASCII)
_DURATION: Final = re.compile(r"\d{1,12}", re.ASCII)
_TAG: Final = re.compile(r"[!-~]{1,600}")  # Vercel's limit of a tag
_WORD: Final = re.compile(r"[!-~]{0,256}")
_JSON: Final = ("content-type", "application/json; charset=utf-8")
_BODY: Final = ("content-type", "application/octet-stream")
_PREFLIGHT: Final = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, HEAD, PUT, POST, OPTIONS"),
    (
        "access-control-allow-headers",
        "Authorization, Content-Type, User-Agent, x-artifact-duration, x-artifact-tag, x-artifact-sha, x-artifact-dirty-hash, x-artifact-client-ci",
    ),
    ("access-control-max-age", "600"),
)
_MOST_JSON_BYTES: Final = 1 << 20
_MOST_HASHES: Final = 1000
_DOMAIN: Final = b"artifact-signature:v2"

_EVENTS: Final = {(source, event) for source in ("LOCAL", "REMOTE") for event in ("HIT", "MISS")}

_USER: Final = {"user": {"id": "vcache", "username": "vcache", "email": "", "name": "vcache"}}
_TEAMS: Final = {"teams": [], "pagination": {"count": 0, "next": None, "prev": None}}
_TOKEN: Final = {"token": {"id": "vcache", "name": "vcache", "type": "token", "scopes": []}}
_ACCOUNT: Final[Mapping[str, object]] = {
    "/v2/user": _USER,
    "/v2/teams": _TEAMS,
    "/v5/user/tokens/current": _TOKEN,
}


class SignatureCheck:
    """Compares a body with its tag.

    Args:
        start: what `signature_start` gives.
        size_bytes: how long the body will be.
    """

    __slots__ = ("_mac", "_tag")

    def __init__(self, key: bytes, tag: str, start: bytes, size_bytes: int) -> None:
        self._tag = tag
        self._mac = hmac.new(key, start + size_bytes.to_bytes(8, "little"), "sha256")

    def update(self, chunk: Buffer) -> None:
        """Take the next bytes in."""
        self._mac.update(chunk)

    def finish(self) -> None:
        """Compare.

        Raises:
            Refused: the tag is of something else, or of another key.
        """
        tag = base64.b64encode(self._mac.digest()).decode()
        if not hmac.compare_digest(tag.encode(), self._tag.encode()):
            raise Refused(Refusal.FORBIDDEN, "x-artifact-tag is not the signature of this artifact")


def signature_start(artifact: str, team_id: str) -> bytes:
    """What is signed, up to the length of the body."""
    parts = (_DOMAIN, artifact.encode(), team_id.encode())
    return b"".join(len(part).to_bytes(8, "little") + part for part in parts)


class Turbo:
    """What Turborepo says and expects.

    Args:
        signature_key: of the team's TURBO_REMOTE_CACHE_SIGNATURE_KEY; with it an artifact that is not
            signed, or by another key, is not kept.
        tell: is told of hits and misses that clients tell of, by source (LOCAL, REMOTE) and event.
    """

    name = "turbo"

    def __init__(
        self, *, signature_key: bytes | None = None, tell: Callable[[str, str], object] | None = None
    ) -> None:
        self._key = signature_key
        self._tell = tell

    def claims(self, path: str) -> bool:
        """Whether a path is Turborepo's."""
        return path.startswith(_ARTIFACTS) or path in _ACCOUNT

    def needs_token(self, method: str, path: str) -> bool:
        """For all but the preflight, which browsers' rules send without one."""
        return method != "OPTIONS"

    async def answer(self, exchange: Exchange) -> None:
        """Answer one call."""
        path, method = exchange.path, exchange.method
        if method == "OPTIONS":
            await exchange.answer(204, headers=_PREFLIGHT)
        elif path in _ACCOUNT and method in READS:
            await _json(exchange, 200, _ACCOUNT[path])
        elif path == f"{_ARTIFACTS}/status" and method in READS:
            await _json(exchange, 200, {"status": "enabled"})
        elif path == f"{_ARTIFACTS}/events" and method == "POST":
            await self._count(exchange)
        elif path == _ARTIFACTS and method == "POST":
            await self._query(exchange)
        elif match := _HASH.fullmatch(path):
            await self._artifact(exchange, match[1])
        else:
            raise Refused(Refusal.METHOD, f"{method} {path!r:.200} is not part of Turborepo's protocol")

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As JSON with a code; a miss where a read fails, and never 5xx."""
        kind = refused.kind
        status = kind.value
        if status >= 500:
            status = 404 if method in READS else 412
        words = {"error": {"code": kind.name.lower(), "message": str(refused)}}
        headers = [_JSON, CHALLENGE] if kind is Refusal.UNAUTHENTICATED else [_JSON]
        return status, headers, json.dumps(words).encode()

    async def _artifact(self, exchange: Exchange, artifact: str) -> None:
        team = _team_of(exchange)
        name = f"{team}/{artifact}"
        if exchange.method in READS:
            found = await exchange.find("turbo", name)
            if found is None:
                await exchange.absent()
            else:
                await exchange.send(found, _headers_of(found))
        elif exchange.method == "PUT":
            meta = _meta_of(exchange)
            checks: list[Check] = [ZstdCheck()]
            if self._key is not None:
                checks.append(self._signature(exchange, artifact, meta.get("tag", "")))
            cost_ns = int(meta.get("duration_ms", "0")) * 1_000_000
            await exchange.keep("turbo", name, checks=checks, meta=meta, cost_ns=cost_ns)
            await _json(exchange, 202, {"urls": [name]})
        else:
            raise Refused(Refusal.METHOD, f"{exchange.method} is not part of Turborepo's protocol")

    def _signature(self, exchange: Exchange, artifact: str, tag: str) -> SignatureCheck:
        assert self._key is not None
        size = exchange.length_bytes
        if size is None:
            raise Refused(Refusal.LENGTH_REQUIRED, "a signature is over the length: send Content-Length")
        if not tag:
            raise Refused(Refusal.FORBIDDEN, "only signed artifacts are kept here: no x-artifact-tag")
        return SignatureCheck(
            self._key, tag, signature_start(artifact, exchange.query.get("teamId", "")), size
        )

    async def _count(self, exchange: Exchange) -> None:
        events = await _posted(exchange)
        for event in events if isinstance(events, list) else ():
            what = (event.get("source"), event.get("event")) if isinstance(event, dict) else ()
            if what in _EVENTS and self._tell is not None:
                self._tell(*what)
        await _json(exchange, 200, {})

    async def _query(self, exchange: Exchange) -> None:
        asked = await _posted(exchange)
        hashes = asked.get("hashes") if isinstance(asked, dict) else None
        if not (
            isinstance(hashes, list)
            and len(hashes) <= _MOST_HASHES
            and all(isinstance(one, str) and _NAME.fullmatch(one) for one in hashes)
        ):
            raise Refused(Refusal.MALFORMED, f'"hashes" is no list of at most {_MOST_HASHES} hashes')
        team = _team_of(exchange)
        vault, namespace = exchange.desk.vault, exchange.caller.namespace

        def look() -> dict[str, dict[str, object]]:
            return {one: _told(vault.get(namespace, "turbo", f"{team}/{one}")) for one in hashes}

        said = await exchange.desk.run(look)
        await _json(exchange, 200, said)


def _team_of(exchange: Exchange) -> str:
    """The team in a name: its id, or its slug where there is only that."""
    team = exchange.query.get("teamId") or exchange.query.get("slug") or ""
    if not _TEAM.fullmatch(team):
        raise Refused(Refusal.MALFORMED, f"{team!r:.200} is no team's name")
    return team


def _meta_of(exchange: Exchange) -> dict[str, str]:
    """What is kept of the headers of a PUT.

    Raises:
        Refused: one of them could not be sent back as it came.
    """
    headers = (
        ("duration_ms", "x-artifact-duration", _DURATION),
        ("tag", "x-artifact-tag", _TAG),
        ("sha", "x-artifact-sha", _WORD),
        ("dirty", "x-artifact-dirty-hash", _WORD),
    )
    meta = {}
    for name, header, pattern in headers:
        value = exchange.header(header)
        if value is None:
            continue
        if not pattern.fullmatch(value):
            raise Refused(Refusal.MALFORMED, f"{header}: {value!r:.80} is not what Turborepo sends")
        meta[name] = value
    return meta


def _headers_of(found: Found) -> list[Header]:
    meta = found.meta
    pairs = (("x-artifact-duration", "duration_ms"), ("x-artifact-tag", "tag"))
    return [_BODY, *((header, meta[name]) for header, name in pairs if name in meta)]


def _told(found: Found | None) -> dict[str, object]:
    if found is None:
        return {"error": {"message": "Artifact not found"}}
    meta = found.meta
    said: dict[str, object] = {
        "size": found.size_bytes,
        "taskDurationMs": int(meta.get("duration_ms", "0")),
    }
    return said | ({"tag": meta["tag"]} if "tag" in meta else {})


async def _posted(exchange: Exchange) -> object:
    body = await exchange.read(_MOST_JSON_BYTES)
    try:
        posted: object = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(Refusal.MALFORMED, f"the body is no JSON: {error}") from error
    return posted


async def _json(exchange: Exchange, status: int, said: object) -> None:
    await exchange.answer(status, json.dumps(said).encode(), (_JSON,))
