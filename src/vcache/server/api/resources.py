"""The JSON resources of the API, on Starlette: entries, namespaces, tokens, the audit log, collection.

A handler is a plain function, run on a thread; the application has authenticated its caller.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vcache.entry import Entry, make_key, split_key
from vcache.errors import ConfigError, StoreError, UsageError
from vcache.kit.data import dataclass
from vcache.kit.pages import page_of
from vcache.kit.units import seconds
from vcache.server.api.values import key_of, type_of
from vcache.server.callers import Caller, Role
from vcache.server.quotas import Quotas
from vcache.server.refused import Refusal, Refused
from vcache.server.tokens import Token, TokenFile
from vcache.server.vault import Vault, own_prefix
from vcache.store.tiers import entries_of, entry_of

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["Office", "Resources"]

_MOST_ITEMS: Final = 1000
_USUAL_ITEMS: Final = 100
_BODY_BYTES: Final = 64 << 10


@dataclass(frozen=True, slots=True)
class Office:
    """What the API's resources are about.

    Attributes:
        vault: where values are.
        tokens: the server's own; None where it is open.
        quotas: what namespaces may hold.
        audit: the log's file.
        note: told of each change: the caller, the action, the name.
        reload: makes changed tokens hold.
        collect: collects garbage; what it dropped and freed.
    """

    vault: Vault
    tokens: TokenFile | None
    quotas: Quotas
    audit: Path
    note: Callable[[Caller, str, str], None]
    reload: Callable[[], None]
    collect: Callable[[], Mapping[str, int]]


class Resources:
    """Handlers, by the names that the OpenAPI description gives them."""

    def __init__(self, office: Office) -> None:
        self._office = office

    def whoami(self, request: Request) -> Response:
        """Who the caller is."""
        caller = _caller(request)
        return _json({
            "token": caller.token,
            "role": caller.role.name.lower(),
            "namespace": caller.namespace,
            "may_write_results": caller.may_write_results,
        })  # fmt: skip

    def list_values(self, request: Request) -> Response:
        """A page of the caller's own values."""
        caller = _caller(request)
        prefix = request.query_params.get("prefix", "")
        own = own_prefix(caller.namespace)
        try:
            start = own + make_key(prefix)
        except (UsageError, UnicodeEncodeError) as error:
            raise Refused(Refusal.MALFORMED, f"prefix={prefix!r:.80}: {error}") from error
        page = self._page(request, self._entries(start))
        return _json({"items": [_value(entry) for entry in page[0]], "next": page[1]})

    def describe_value(self, request: Request) -> Response:
        """All that is known of one value but its content."""
        name = request.path_params["name"]
        key = key_of(_caller(request).namespace, name)
        try:
            entry = entry_of(self._office.vault.store, key)
        except (StoreError, OSError) as error:
            raise Refused(Refusal.BROKEN, f"the store failed: {error}") from error
        if entry is None:
            raise Refused(Refusal.ABSENT, f"there is no value {name!r:.200}")
        return _json(_value(entry))

    def list_artifacts(self, request: Request) -> Response:
        """A page of what build tools keep in the caller's namespace."""
        caller = _caller(request)
        realm = request.query_params.get("realm", "")
        start = f"@{caller.namespace}:{realm}"
        prefix = (start + "\0" if realm else start).encode("utf-8", "surrogatepass")
        page = self._page(request, self._entries(prefix))
        return _json({"items": [_artifact(entry) for entry in page[0]], "next": page[1]})

    def usage(self, request: Request) -> Response:
        """What the caller's namespace holds, by realm, and what it may hold."""
        caller = _caller(request)
        return _json(self._usage(caller.namespace))

    def list_namespaces(self, request: Request) -> Response:
        """A page of all namespaces, with what they hold."""
        _require_admin(request)
        names: set[str] = set()
        for key in self._office.vault.store.scan(b"@"):
            start = key[1:66].replace(b"/", b":").partition(b":")[0]
            names.add(start.decode("utf-8", "replace"))
        limit, after = _paging(request)
        page = page_of(names, str.encode, after=after, limit=limit)
        return _json({"items": [self._usage(name) for name in page.items], "next": page.next})

    def list_tokens(self, request: Request) -> Response:
        """A page of the tokens, without their secrets."""
        _require_admin(request)
        limit, after = _paging(request)
        rows = self._tokens().rows().values()
        page = page_of(rows, lambda row: row.id.encode(), after=after, limit=limit)
        return _json({"items": [_row(token) for token in page.items], "next": page.next})

    def make_token(self, request: Request, body: object) -> Response:
        """A new token, shown this once."""
        caller = _require_admin(request)
        fields = _fields(body, {"namespace": str, "role": str, "expires": str, "note": str}, ("namespace",))
        role = str(fields.get("role", "writer")).upper()
        if role not in ("READER", "WRITER", "BUILDER", "ADMIN"):
            raise Refused(Refusal.MALFORMED, f"role {fields['role']!r:.40}: reader, writer, builder or admin")
        note = str(fields.get("note", ""))
        try:
            expires_ns = 0
            if "expires" in fields:
                expires_ns = self._office.vault.clock() + int(seconds(str(fields["expires"])) * 1e9)
            if expires_ns >= 1 << 63 or len(note) > 200:
                raise UsageError("expires is too far away, or note longer than 200 characters")
            row, text = self._tokens().add(
                Role[role], str(fields["namespace"]), expires_ns=expires_ns, note=note
            )
        except (UsageError, OverflowError) as error:
            raise Refused(Refusal.MALFORMED, str(error)) from error
        self._office.reload()
        self._office.note(caller, "token", row.id)
        return _json({"secret": text, **_row(row)}, status=201)

    def revoke_token(self, request: Request) -> Response:
        """Make a token worthless."""
        caller = _require_admin(request)
        token_id = request.path_params["id"]
        try:
            row = self._tokens().revoke(token_id)
        except ConfigError:
            raise
        except UsageError as error:
            raise Refused(Refusal.ABSENT, str(error)) from error
        self._office.reload()
        self._office.note(caller, "revoke", row.id)
        return _json(_row(row))

    def list_audit(self, request: Request) -> Response:
        """A page of the audit log, the oldest first."""
        from vcache.server.audit import files_of

        _require_admin(request)
        limit, after = _paging(request)

        def rows() -> Iterator[dict[str, object]]:
            for file in files_of(self._office.audit):
                if file.exists():
                    with file.open("rb") as lines:
                        yield from (row for line in lines if (row := _line(line)) is not None)

        page = page_of(rows(), lambda row: b"%020d" % int(str(row["seq"])), after=after, limit=limit)
        return _json({"items": page.items, "next": page.next})

    def collect(self, request: Request) -> Response:
        """Collect garbage now."""
        caller = _require_admin(request)
        done = self._office.collect()
        self._office.note(caller, "gc", "")
        return _json(dict(done))

    # -- inside ----------------------------------------------------------------------------

    def _tokens(self) -> TokenFile:
        if self._office.tokens is None:
            raise Refused(Refusal.CONFLICT, "this server is open: it has no tokens")
        return self._office.tokens

    def _entries(self, prefix: bytes) -> Iterator[Entry]:
        return entries_of(self._office.vault.store, prefix)

    def _page(self, request: Request, entries: Iterator[Entry]) -> tuple[list[Entry], str | None]:
        limit, after = _paging(request)
        try:
            page = page_of(entries, lambda entry: entry.key, after=after, limit=limit)
        except UsageError as error:
            raise Refused(Refusal.MALFORMED, str(error)) from error
        except (StoreError, OSError) as error:
            raise Refused(Refusal.BROKEN, f"the store failed: {error}") from error
        return page.items, page.next

    def _usage(self, namespace: str) -> dict[str, object]:
        realms: dict[str, list[int]] = {}
        own = own_prefix(namespace)
        walks = [(f"@{namespace}:".encode(), None), (own, "vcache")] if own else [(b"", None)]
        for prefix, name in walks:
            for entry in self._entries(prefix):
                realm = name or _realm(entry)
                counted = realms.setdefault(realm, [0, 0])
                counted[0] += 1
                counted[1] += entry.size_bytes
        return {
            "namespace": namespace,
            "entries": sum(count for count, _ in realms.values()),
            "size_bytes": sum(size for _, size in realms.values()),
            "quota_bytes": self._office.quotas.limit_of(namespace),
            "realms": {
                realm: {"entries": count, "size_bytes": size}
                for realm, (count, size) in sorted(realms.items())
            },
        }


def _caller(request: Request) -> Caller:
    caller = request.scope["vcache.caller"]
    assert isinstance(caller, Caller)
    return caller


def _require_admin(request: Request) -> Caller:
    caller = _caller(request)
    if caller.role < Role.ADMIN:
        raise Refused(
            Refusal.FORBIDDEN, f"this is for admins; the token's role is {caller.role.name.lower()}"
        )
    return caller


def _paging(request: Request) -> tuple[int, str | None]:
    text = request.query_params.get("limit", str(_USUAL_ITEMS))
    if not (text.isascii() and text.isdigit() and len(text) <= 9 and 1 <= int(text) <= _MOST_ITEMS):
        raise Refused(Refusal.MALFORMED, f"limit={text!r:.40}: a number from 1 to {_MOST_ITEMS}")
    cursor = request.query_params.get("cursor")
    if cursor is not None:
        from vcache.kit.pages import key_of as check

        try:
            check(cursor)
        except UsageError as error:
            raise Refused(Refusal.MALFORMED, str(error)) from error
    return int(text), cursor


def _fields(body: object, known: Mapping[str, type], required: tuple[str, ...]) -> dict[str, object]:
    """The members of a JSON object, each of its type.

    Raises:
        Refused: another type, an unknown member, or one that is missing.
    """
    if not isinstance(body, dict):
        raise Refused(Refusal.MALFORMED, f"the body is {type(body).__name__}, not an object")
    for name, value in body.items():
        if name not in known:
            raise Refused(Refusal.MALFORMED, f"unknown member {name!r:.40}: {', '.join(known)} are known")
        if not isinstance(value, known[name]):
            raise Refused(Refusal.MALFORMED, f"{name}={value!r:.40} is no {known[name].__name__}")
    for name in required:
        if name not in body:
            raise Refused(Refusal.MALFORMED, f"the member {name!r} is missing")
    return body


def _value(entry: Entry) -> dict[str, object]:
    """What the API says of a value."""
    return {**_common(entry), "type": type_of(entry), "codec": entry.codec, "tags": sorted(entry.tags),
            "expires_ns": entry.expires_ns, "meta": dict(entry.meta)}  # fmt: skip


def _artifact(entry: Entry) -> dict[str, object]:
    """What the API says of a build tool's artifact."""
    return {**_common(entry), "realm": _realm(entry), "meta": dict(entry.meta)}


def _common(entry: Entry) -> dict[str, object]:
    _, name = split_key(entry.key)
    text = name if isinstance(name, str) else name.hex()
    return {
        "name": text.encode("utf-8", "replace").decode(),
        "digest": entry.digest.hex(),
        "size_bytes": entry.size_bytes,
        "created_ns": entry.created_ns,
        "cost_ns": entry.cost_ns,
    }


def _realm(entry: Entry) -> str:
    """The realm of a dialect's entry; "vcache" for everybody else's."""
    space = split_key(entry.key)[0]
    return space.partition(":")[2] if space.startswith("@") and ":" in space else "vcache"


def _row(token: Token) -> dict[str, object]:
    return {
        "id": token.id, "role": token.role.name.lower(), "namespace": token.namespace, "note": token.note,
        "created_ns": token.created_ns, "expires_ns": token.expires_ns, "revoked_ns": token.revoked_ns,
    }  # fmt: skip


def _line(line: bytes) -> dict[str, object] | None:
    try:
        row = json.loads(line)
        int(row["seq"])
    except (ValueError, KeyError, TypeError):
        return None  # being written, or damaged: `vcache audit verify` says so
    return dict(row)


def _json(body: Mapping[str, object], *, status: int = 200) -> Response:
    from starlette.responses import JSONResponse

    return JSONResponse(body, status_code=status)
