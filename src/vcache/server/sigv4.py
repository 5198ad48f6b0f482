"""Signature Version 4 as a server sees it: who signed a request, and whether the signature is right.

Headers and presigned addresses (Amazon S3 API Reference, "Authenticating Requests"). Pure; it must not
know tokens.
"""

from __future__ import annotations

import hmac
import re
from calendar import timegm
from collections.abc import Callable
from time import strptime
from typing import Final
from urllib.parse import parse_qsl

from vcache.hash import sha256
from vcache.kit.data import dataclass
from vcache.kit.sigv4 import ALGORITHM, canonical_query, signing_key
from vcache.server.names import whole_number
from vcache.server.refused import Refusal, Refused

__all__ = ["UNSIGNED", "Signed", "signed_in"]

UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_HEADER: Final = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})"
)
_STAMP: Final = re.compile(r"\d{8}T\d{6}Z", re.ASCII)
_SKEW_S: Final = 15 * 60
_MOST_EXPIRES_S: Final = 7 * 86_400
_BLANKS: Final = re.compile(r" +")


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature, and what it is over.

    Attributes:
        access: the id of the key.
        payload: the SHA-256 of the body in hexadecimal, `UNSIGNED`, or a word for some wrapping.
    """

    access: str
    payload: str
    _scope: tuple[str, ...]
    _text: str
    _signature: str

    def matches(self, secret: str) -> bool:
        """Whether it was made with a secret, in a time that says nothing of where it differs."""
        key = signing_key(secret, self._scope)
        return hmac.compare_digest(hmac.digest(key, self._text.encode(), "sha256").hex(), self._signature)


def signed_in(
    method: str, raw_path: str, query: str, *, header: Callable[[str], str | None], now_s: float
) -> Signed | None:
    """The signature of a request; None where it has none.

    Args:
        raw_path: percent-encoded, as it came.
        header: gives a header by its name in lower case.

    Raises:
        Refused: one that is malformed, too old, or of another time.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    presigned = dict(pairs)
    text = header("authorization") or ""
    if text.startswith(ALGORITHM):
        match = _HEADER.fullmatch(text.strip())
        if match is None:
            raise _malformed("Authorization")
        credential, names, signature = match.groups()
        stamp = header("x-amz-date") or ""
        payload = header("x-amz-content-sha256") or UNSIGNED
        _check_time(stamp, now_s, _SKEW_S)
    elif presigned.get("X-Amz-Algorithm") == ALGORITHM:
        credential, names = presigned.get("X-Amz-Credential", ""), presigned.get("X-Amz-SignedHeaders", "")
        signature, stamp = presigned.get("X-Amz-Signature", ""), presigned.get("X-Amz-Date", "")
        payload = UNSIGNED
        expires_s = whole_number(presigned.get("X-Amz-Expires", ""))
        if expires_s is None or expires_s > _MOST_EXPIRES_S:
            raise _malformed("X-Amz-Expires")
        _check_time(stamp, now_s, expires_s)
        pairs = [pair for pair in pairs if pair[0] != "X-Amz-Signature"]
    else:
        return None
    access, *scope = credential.split("/")
    listed = names.split(";")
    if len(scope) != 4 or scope[2:] != ["s3", "aws4_request"] or scope[0] != stamp[:8]:
        raise _malformed("Credential")
    if "host" not in listed:
        raise _malformed("SignedHeaders")
    lines = "".join(f"{name}:{_BLANKS.sub(' ', (header(name) or '').strip())}\n" for name in listed)
    canonical = f"{method}\n{raw_path}\n{canonical_query(pairs)}\n{lines}\n{names}\n{payload}"
    text = f"{ALGORITHM}\n{stamp}\n{'/'.join(scope)}\n{sha256(canonical.encode()).hex()}"
    return Signed(access, payload, tuple(scope), text, signature)


def _check_time(stamp: str, now_s: float, valid_s: int) -> None:
    if not _STAMP.fullmatch(stamp):
        raise _malformed("x-amz-date")
    try:
        signed_s = timegm(strptime(stamp, "%Y%m%dT%H%M%SZ"))
    except ValueError:
        raise _malformed("x-amz-date") from None
    if not signed_s - _SKEW_S <= now_s <= signed_s + valid_s:
        raise Refused(Refusal.FORBIDDEN, f"signed at {stamp}, which is too long ago or yet to come")


def _malformed(what: str) -> Refused:
    return Refused(Refusal.MALFORMED, f"the signature's {what} is not as AWS has it")
