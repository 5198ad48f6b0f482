"""What who signs and who checks a Signature Version 4 of AWS have in common. Pure.

Source: "Signature Calculations for the Authorization Header", Amazon S3 API Reference.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Final
from urllib.parse import quote

__all__ = ["ALGORITHM", "canonical_query", "signing_key"]

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNRESERVED: Final = "-_.~"


def signing_key(secret: str, scope: Iterable[str]) -> bytes:
    """The key that a secret gives for a scope: day, region, service, `aws4_request`."""
    key = b"AWS4" + secret.encode()
    for part in scope:
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def canonical_query(pairs: Iterable[tuple[str, str]]) -> str:
    """A query as it is signed: sorted, each name with its value, percent-encoded."""
    encoded = sorted((quote(name, safe=_UNRESERVED), quote(value, safe=_UNRESERVED)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)
