"""WebDAV below `/dav/`, as much as caches use: sccache, ccache, file managers (RFC 4918, class 1).

sccache asks for a directory before each write (PROPFIND, Depth 0) and climbs up with MKCOL where there is
none. There are no directories here, only names: each path that ends in "/" is one, and making one
succeeds. At its start sccache reads `.sccache_check`, which may be absent, and writes it: refused, it goes
on without writing. Any other answer to the read keeps its server from starting, and every compilation
from succeeding (protocols: 3.d). What a PROPFIND
asks for is not read: all properties are told.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final
from urllib.parse import quote
from xml.etree import ElementTree as ET

from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange
from vcache.server.framing import ZipInspector
from vcache.server.listing import page_of
from vcache.server.names import clean_name
from vcache.server.phrases import READS, is_probe, plain
from vcache.server.ranges import send_part
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import Found, Vault

__all__ = ["Dav"]

_PREFIX: Final = "/dav/"
_OPTIONS: Final = (
    ("allow", "OPTIONS, GET, HEAD, PUT, DELETE, PROPFIND, MKCOL"),
    ("dav", "1"),
    ("ms-author-via", "DAV"),
)
_XML: Final = ("content-type", "application/xml; charset=utf-8")
_NAMESPACE: Final = "DAV:"
_EPOCH: Final = "Thu, 01 Jan 1970 00:00:00 GMT"
_MOST_REQUEST_BYTES: Final = 64 << 10
_MOST_MEMBERS: Final = 20_000


class Dav:
    """What WebDAV clients say and expect."""

    name = "dav"

    def claims(self, path: str) -> bool:
        """Whether a path is WebDAV's."""
        return path.startswith(_PREFIX) or path == "/dav"

    def needs_token(self, method: str, path: str) -> bool:
        """For all but the question what there is."""
        return method != "OPTIONS"

    async def answer(self, exchange: Exchange) -> None:
        """Answer one method."""
        name = exchange.path[len(_PREFIX) :]
        is_directory = not name or name.endswith("/")
        method = exchange.method
        if method == "OPTIONS":
            await exchange.answer(200, headers=_OPTIONS)
        elif method == "PROPFIND":
            await self._properties(exchange, name)
        elif method == "MKCOL":
            await _make_directory(exchange, name)
        elif is_directory:
            await self._directory(exchange)
        else:
            await self._file(exchange, clean_name(name))

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As it is; where the store fails a read is a miss. sccache's probe lets it start."""
        if is_probe(refused, path=path):
            return plain(refused, status=404 if method in READS else 403)
        if refused.kind in (Refusal.BROKEN, Refusal.BUSY) and method in READS:
            return plain(refused, status=404)
        return plain(refused)

    async def _file(self, exchange: Exchange, name: str) -> None:
        if exchange.method in READS:
            found = await exchange.find("dav", name)
            if found is None:
                await exchange.absent()
            else:
                await send_part(exchange, found, _etag(found), [])
        elif exchange.method == "PUT":
            kept = await exchange.keep("dav", name, inspector=ZipInspector())
            await exchange.answer(201 if kept.is_new else 204)
        elif exchange.method == "DELETE":
            await exchange.answer(204 if await exchange.delete("dav", name) else 404)
        else:
            raise Refused(Refusal.METHOD, f"{exchange.method} is not served of WebDAV")

    async def _directory(self, exchange: Exchange) -> None:
        if exchange.method in READS:
            await exchange.answer(200, b"", (("content-type", "text/plain"),))
        elif exchange.method == "DELETE":
            exchange.caller.require_write()
            raise Refused(Refusal.FORBIDDEN, "directories are not deleted: delete files")
        else:
            raise Refused(Refusal.METHOD, f"{exchange.method} of a directory")

    async def _properties(self, exchange: Exchange, name: str) -> None:
        await exchange.read(_MOST_REQUEST_BYTES)
        depth = exchange.header("depth") or "infinity"
        if depth not in ("0", "1"):
            raise Refused(Refusal.FORBIDDEN, f"Depth: {depth:.20}: only 0 and 1 are answered")
        bare = name.removesuffix("/")
        if bare:
            clean_name(bare)
        is_directory = bare != name or not bare
        found = None if is_directory else await exchange.find("dav", bare)
        vault, namespace = exchange.desk.vault, exchange.caller.namespace
        if found is not None:
            text = _multistatus([_response(bare, found)])
        elif is_directory or await exchange.desk.run(lambda: _has_members(vault, namespace, bare)):
            text = await exchange.desk.run(lambda: _listing(vault, namespace, bare, is_deep=depth == "1"))
        else:
            await exchange.absent()
            return
        await exchange.answer(207, text, (_XML,))


def _has_members(vault: Vault, namespace: str, directory: str) -> bool:
    return next(vault.names(namespace, "dav", f"{directory}/"), None) is not None


def _listing(vault: Vault, namespace: str, directory: str, *, is_deep: bool) -> bytes:
    """A directory and, where that is asked for, what lies directly in it.

    Raises:
        Refused: more than can be told at once.
    """
    prefix = f"{directory}/" if directory else ""
    told = [_response(prefix, None)]
    if is_deep:
        names = vault.names(namespace, "dav", prefix)
        page = page_of(names, prefix, delimiter="/", limit=_MOST_MEMBERS)
        if page.last:
            raise Refused(Refusal.TOO_LARGE, f"{prefix!r:.200} has more than {_MOST_MEMBERS} members")
        told += [_response(group, None) for group in page.groups]
        for name in page.names:
            # One at a time: each large value is a mapped file while it is held.
            found = vault.get(namespace, "dav", name)
            if found is not None:
                told.append(_response(name, found))
    return _multistatus(told)


async def _make_directory(exchange: Exchange, name: str) -> None:
    exchange.caller.require_write()
    bare = name.removesuffix("/")
    if not bare:
        await exchange.answer(405)  # RFC 4918, 9.3.1: it is there
        return
    clean_name(bare)
    if await exchange.read(_MOST_REQUEST_BYTES):
        await exchange.answer(415)  # RFC 4918, 9.3.1: a body that nobody understands
        return
    await exchange.answer(201)


def _etag(found: Found) -> str:
    return f'"{found.digest.hex()}"'


def _response(name: str, found: Found | None) -> ET.Element:
    """What there is to say of a file, or of a directory."""
    response = ET.Element(f"{{{_NAMESPACE}}}response")
    _child(response, "href", quote(f"{_PREFIX}{name}"))
    propstat = _child(response, "propstat")
    prop = _child(propstat, "prop")
    kind = _child(prop, "resourcetype")
    _child(prop, "displayname", name.rstrip("/").rpartition("/")[2])
    if found is None:
        _child(kind, "collection")
        _child(prop, "getlastmodified", _EPOCH)
    else:
        _child(prop, "getlastmodified", _date(found.record.entry().created_ns))
        _child(prop, "getcontentlength", str(found.size_bytes))
        _child(prop, "getcontenttype", "application/octet-stream")
        _child(prop, "getetag", _etag(found))
    _child(propstat, "status", "HTTP/1.1 200 OK")
    return response


def _child(parent: ET.Element, tag: str, text: str | None = None) -> ET.Element:
    child = ET.SubElement(parent, f"{{{_NAMESPACE}}}{tag}")
    child.text = text
    return child


def _multistatus(responses: Iterable[ET.Element]) -> bytes:
    ET.register_namespace("D", _NAMESPACE)
    root = ET.Element(f"{{{_NAMESPACE}}}multistatus")
    root.extend(responses)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _date(at_ns: int) -> str:
    from email.utils import formatdate

    return formatdate(at_ns / 1e9, usegmt=True)
