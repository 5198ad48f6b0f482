"""What an answer of S3 that is no success means, in words with a remedy. No I/O."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreError, StoreFull, StoreUnavailable
from vcache.store.http.messages import Answer, Refused, ServerBusy

if TYPE_CHECKING:
    from vcache.store.s3.address import Place

__all__ = ["SKEWED", "STALE", "code_of", "fault_of"]

SKEWED: Final = "RequestTimeTooSkewed"
"""The code of an answer to a request that was signed at another time than the server's."""

STALE: Final = frozenset(
    {"ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch", "TokenRefreshRequired"}
)
"""Codes of answers that other credentials, if there are any meanwhile, might not get."""

_MOST_BYTES: Final = 16 << 10
_MOST_WAIT_S: Final = 3600.0
_BUSY: Final = frozenset({"SlowDown", "ServiceUnavailable", "Throttling", "RequestLimitExceeded", "Busy"})
_FOR_NOW: Final = frozenset(
    {"InternalError", "OperationAborted", "RequestTimeout", "ConditionalRequestConflict", "NoSuchUpload"}
)
_REMEDIES: Final = {
    "NoSuchBucket": "create it, or correct the address",
    "InvalidBucketName": "correct the address",
    "AccessDenied": "the credentials need s3:GetObject, s3:PutObject and s3:DeleteObject on the objects, and "
    "s3:ListBucket on the bucket: without that one S3 denies access to whatever is absent",
    "InvalidAccessKeyId": "the server does not know this access key: set AWS_ACCESS_KEY_ID, or ?profile=NAME",
    "SignatureDoesNotMatch": "the secret is not that of the access key: set AWS_SECRET_ACCESS_KEY, or "
    "?profile=NAME",
    "ExpiredToken": "sign in again, such as by `aws sso login`",
    SKEWED: "set the clock of this machine",
    "InvalidStorageClass": "correct ?storage_class=…",
}
_FULL: Final = frozenset({"QuotaExceeded", "EntityTooLarge", "InsufficientStorage", "XMinioStorageFull"})


def code_of(answer: Answer) -> str:
    """The name that S3 has for what went wrong; "" where the answer says nothing."""
    return _part(answer, b"Code")


def fault_of(answer: Answer, place: Place, region: str) -> StoreError:
    """The error that an answer stands for."""
    status, code = answer.status, code_of(answer)
    said = f"{place.bucket!r} at {place.endpoint or 'AWS'} answered {status}"
    message = _part(answer, b"Message")
    said += f" {code}" if code else ""
    said += f" ({message:.200})" if message and message != code else ""
    where = answer.headers.get("x-amz-bucket-region") or _part(answer, b"Region")
    if status in (301, 307, 308) or (where and where != region and status == 400):
        remedy = f"write ?region={where}" if where else "name the bucket's own ?endpoint=… or ?region=…"
        return Refused(f"{said}: the bucket is elsewhere: {remedy}", status)
    if status in (429, 503) or code in _BUSY:
        wait = answer.headers.get("retry-after", "")
        wait_s = min(float(wait[:9]), _MOST_WAIT_S) if wait.isascii() and wait.isdigit() else None
        return ServerBusy(f"{said}: it is asked too much", wait_s)
    if status == 507 or code in _FULL:
        return StoreFull(said)
    if status >= 500 or status == 408 or code in _FOR_NOW:
        return StoreUnavailable(said)
    remedy = _REMEDIES.get(code or {403: "AccessDenied"}.get(status, ""), "")
    return Refused(f"{said}: {remedy}" if remedy else said, status)


def _part(answer: Answer, name: bytes) -> str:
    """The text of an element of an error: a search spares most answers a parser of XML."""
    found = re.search(rb"<%s>([^<]*)</%s>" % (name, name), bytes(answer.body[:_MOST_BYTES]))
    if found is None:
        return ""
    from html import unescape

    text = unescape(found[1].decode("utf-8", "replace"))
    return "".join(letter if letter.isprintable() else " " for letter in text)
