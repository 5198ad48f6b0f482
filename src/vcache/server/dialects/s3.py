"""S3, path style, below `/s3/<bucket>/`: GET, HEAD, PUT, DELETE, ListObjectsV2; no multipart uploads.

Any bucket is there. sccache needs GET and PUT of `<prefix>/<a>/<b>/<c>/<key>` and a readable, perhaps
writable `.sccache_check` (protocols: 3.d). Errors are XML with S3's codes. Who signs (Signature Version 4,
header or presigned) has the id of a token as access key, and as secret key what `vcache token` prints
beside the token; a token as `Authorization: Bearer` does as well. Bodies wrapped as `aws-chunked` are
taken with unsigned chunks; chunks that are signed one by one are refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final
from xml.etree import ElementTree as ET

from vcache.kit.data import dataclass
from vcache.server.aws_chunked import AwsChunks, ChecksumCheck
from vcache.server.callers import Caller
from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange
from vcache.server.framing import ZipInspector
from vcache.server.intake import Check
from vcache.server.listing import page_of
from vcache.server.names import flat_name, whole_number
from vcache.server.phrases import READS, is_probe
from vcache.server.ranges import send_part
from vcache.server.refused import Refusal, Refused
from vcache.server.sigv4 import UNSIGNED, signed_in
from vcache.server.vault import Found

__all__ = ["S3", "Signer"]

Signer = Callable[[str], tuple[str, Caller] | None]
"""The secret of an access key, and who signs with it; None for a key that is not known."""

_PREFIX: Final = "/s3"
_XML: Final = ("content-type", "application/xml")
_NAMESPACE: Final = "http://s3.amazonaws.com/doc/2006-03-01/"
_CODES: Final = {
    Refusal.MALFORMED: (400, "InvalidRequest"),
    Refusal.UNAUTHENTICATED: (403, "AccessDenied"),
    Refusal.FORBIDDEN: (403, "AccessDenied"),
    Refusal.ABSENT: (404, "NoSuchKey"),
    Refusal.METHOD: (501, "NotImplemented"),
    Refusal.CONFLICT: (409, "OperationAborted"),
    Refusal.LENGTH_REQUIRED: (411, "MissingContentLength"),
    Refusal.PRECONDITION: (412, "PreconditionFailed"),
    Refusal.TOO_LARGE: (400, "EntityTooLarge"),
    Refusal.MEDIA: (400, "InvalidRequest"),
    Refusal.RANGE: (416, "InvalidRange"),
    Refusal.CROWDED: (503, "SlowDown"),
    Refusal.BUSY: (503, "SlowDown"),
    Refusal.BROKEN: (500, "InternalError"),
    Refusal.FULL: (507, "InsufficientStorage"),
}
_MOST_KEYS: Final = 1000
_UNSIGNED_CHUNKS: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
_HEX_SHA256: Final = 64
_BEGINNING: Final = 40  # of an ETag: more than any other content shares


@dataclass(frozen=True, slots=True)
class _Body:
    """How the body of a PUT is to be taken in."""

    checks: list[Check]
    decode: AwsChunks | None


class S3:
    """What S3 clients say and expect.

    Args:
        signer: finds the secret of an access key.
        clock: UTC seconds.
    """

    name = "s3"

    def __init__(self, signer: Signer = lambda _: None, *, clock: Callable[[], float] = time.time) -> None:
        self._signer = signer
        self._clock = clock

    def claims(self, path: str) -> bool:
        """Whether a path is S3's."""
        return path.startswith("/s3/") or path == _PREFIX

    def needs_token(self, method: str, path: str) -> bool:
        """Not before the signature was looked at, which happens here."""
        return False

    async def answer(self, exchange: Exchange) -> None:
        """Answer one call."""
        payload = self._authenticate(exchange)
        bucket, _, key = exchange.path[len(_PREFIX) + 1 :].partition("/")
        if not bucket:
            await _service(exchange)
        elif not key:
            await _bucket(exchange, flat_name(bucket))
        else:
            await _object(exchange, flat_name(f"{bucket}/{key}"), payload)

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As XML with a code; where the store fails a read is a miss. sccache's probe lets it start."""
        status, code = _CODES[refused.kind]
        if method in READS and (refused.kind is Refusal.BROKEN or is_probe(refused, path=path)):
            status, code = _CODES[Refusal.ABSENT]
        root = ET.Element("Error")
        for tag, text in (("Code", code), ("Message", str(refused)), ("Resource", path)):
            ET.SubElement(root, tag).text = _printable(text)
        return status, (_XML,), _document(root)

    def _authenticate(self, exchange: Exchange) -> str:
        """What the signature says of the body; the caller becomes who signed."""
        if exchange.caller.may_read:  # known by a token, or everybody is let in
            return exchange.header("x-amz-content-sha256") or UNSIGNED
        signed = signed_in(
            exchange.method, exchange.raw_path, exchange.raw_query,
            header=exchange.header, now_s=self._clock(),
        )  # fmt: skip
        if signed is None:
            raise Refused(Refusal.UNAUTHENTICATED, "the request is not signed")
        known = self._signer(signed.access)
        if known is None or not signed.matches(known[0]):
            raise Refused(Refusal.UNAUTHENTICATED, "the access key or the signature is not right")
        exchange.caller = known[1]
        return signed.payload


async def _service(exchange: Exchange) -> None:
    """What buckets there are: nobody says, any is there."""
    if exchange.method not in READS:
        raise Refused(Refusal.METHOD, f"{exchange.method} of all buckets")
    root = ET.Element("ListAllMyBucketsResult", xmlns=_NAMESPACE)
    ET.SubElement(root, "Buckets")
    await exchange.answer(200, _document(root), (_XML,))


async def _bucket(exchange: Exchange, bucket: str) -> None:
    query = exchange.query
    if exchange.method == "PUT" and not query:
        exchange.caller.require_write()
        await exchange.answer(200, headers=(("location", f"/{bucket}"),))
    elif exchange.method not in READS:
        raise Refused(Refusal.METHOD, f"{exchange.method} of a bucket")
    elif exchange.method == "HEAD":
        await exchange.answer(200, headers=(("x-amz-bucket-region", "auto"),))
    elif "location" in query:
        root = ET.Element("LocationConstraint", xmlns=_NAMESPACE)
        await exchange.answer(200, _document(root), (_XML,))
    elif query.get("list-type") == "2":
        await _list(exchange, bucket)
    else:
        raise Refused(Refusal.METHOD, f"of a bucket only ListObjectsV2 is served, not {sorted(query)}")


async def _list(exchange: Exchange, bucket: str) -> None:
    """ListObjectsV2."""
    from urllib.parse import quote

    query = exchange.query
    prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
    after = query.get("continuation-token") or query.get("start-after", "")
    text = query.get("max-keys", "1000")
    asked = whole_number(text)
    if asked is None:
        raise Refused(Refusal.MALFORMED, f"max-keys: {text!r:.40} is not a number")
    limit = min(asked, _MOST_KEYS)
    vault, namespace, start = exchange.desk.vault, exchange.caller.namespace, f"{bucket}/"

    def look() -> tuple[list[tuple[str, Found]], tuple[str, ...], str]:
        names = (name.removeprefix(start) for name in vault.names(namespace, "s3", start + prefix))
        page = page_of(names, prefix, delimiter=delimiter, after=after, limit=limit)
        found = [(name, vault.get(namespace, "s3", start + name)) for name in page.names]
        return [(name, one) for name, one in found if one is not None], page.groups, page.last

    contents, groups, last = await exchange.desk.run(look)
    is_encoded = query.get("encoding-type") == "url"

    def shown(name: str) -> str:
        return quote(name, safe="/") if is_encoded else _printable(name)

    root = ET.Element("ListBucketResult", xmlns=_NAMESPACE)
    pairs = [
        ("Name", bucket), ("Prefix", shown(prefix)), ("Delimiter", shown(delimiter)),
        ("MaxKeys", str(limit)), ("KeyCount", str(len(contents) + len(groups))),
        ("IsTruncated", "true" if last else "false"), ("NextContinuationToken", last),
        ("EncodingType", "url" if is_encoded else ""),
    ]  # fmt: skip
    _add(root, ((tag, text) for tag, text in pairs if text))
    for name, one in contents:
        entry = one.record.entry()
        _add(
            ET.SubElement(root, "Contents"),
            (
                ("Key", shown(name)), ("LastModified", _iso(entry.created_ns)), ("ETag", _etag(one)),
                ("Size", str(one.size_bytes)), ("StorageClass", "STANDARD"),
            ),
        )  # fmt: skip
    for group in groups:
        _add(ET.SubElement(root, "CommonPrefixes"), (("Prefix", shown(group)),))
    await exchange.answer(200, _document(root), (_XML,))


async def _object(exchange: Exchange, name: str, payload: str) -> None:
    if exchange.query.keys() & {"uploads", "uploadId", "acl", "tagging", "copy", "attributes"}:
        raise Refused(Refusal.METHOD, f"of an object {sorted(exchange.query)} is not served here")
    if exchange.method in READS:
        found = await exchange.find("s3", name)
        if found is None:
            await _no_such_key(exchange)
        else:
            headers = [("last-modified", _http_date(found.record.entry().created_ns))]
            await send_part(exchange, found, _etag(found), headers)
    elif exchange.method == "PUT":
        await _put(exchange, name, payload)
    elif exchange.method == "DELETE":
        await exchange.delete("s3", name)
        await exchange.answer(204)
    else:
        raise Refused(Refusal.METHOD, f"{exchange.method} of an object")


async def _put(exchange: Exchange, name: str, payload: str) -> None:
    if exchange.header("x-amz-copy-source"):
        raise Refused(Refusal.METHOD, "objects are not copied here")
    exchange.caller.require_write()
    if exchange.header("if-none-match") == "*" and await exchange.find("s3", name) is not None:
        raise Refused(Refusal.PRECONDITION, "there is an object of that key")
    body = _body_of(exchange, payload)
    kept = await exchange.keep("s3", name, checks=body.checks, decode=body.decode, inspector=ZipInspector())
    await exchange.answer(200, headers=(("etag", _etag_of(kept.digest)),))


def _body_of(exchange: Exchange, payload: str) -> _Body:
    """How a body comes, by what was signed of it.

    Raises:
        Refused: chunks that are signed one by one.
    """
    wrapping = None
    if payload == _UNSIGNED_CHUNKS:
        wrapping = AwsChunks(whole_number(exchange.header("x-amz-decoded-content-length") or ""))
    elif payload.startswith("STREAMING-"):
        raise Refused(
            Refusal.METHOD, f"bodies sent as {payload:.80} are not taken: let the client sign them as a whole"
        )
    trailers = {} if wrapping is None else wrapping.trailers
    sums = ChecksumCheck(
        payload if len(payload) == _HEX_SHA256 else "",
        lambda kind: trailers.get(kind) or exchange.header(kind),
    )
    return _Body([sums] if wrapping is None else [wrapping, sums], wrapping)


async def _no_such_key(exchange: Exchange) -> None:
    root = ET.Element("Error")
    _add(root, (("Code", "NoSuchKey"), ("Message", "The specified key does not exist.")))
    await exchange.absent(_document(root), (_XML,))


def _etag(found: Found) -> str:
    return _etag_of(found.digest)


def _etag_of(digest: bytes) -> str:
    # A hyphen, as in the ETags of multipart uploads, tells clients that it is no MD5.
    return f'"{digest.hex()[:_BEGINNING]}-1"'


def _add(parent: ET.Element, pairs: Iterable[tuple[str, str]]) -> None:
    for tag, text in pairs:
        ET.SubElement(parent, tag).text = text


def _printable(text: str) -> str:
    """Without what XML 1.0 cannot hold."""
    return "".join(character if character.isprintable() else "?" for character in text)


def _document(root: ET.Element) -> bytes:
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text


def _iso(at_ns: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(at_ns // 1_000_000_000))


def _http_date(at_ns: int) -> str:
    from email.utils import formatdate

    return formatdate(at_ns / 1e9, usegmt=True)
