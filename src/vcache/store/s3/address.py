"""Which bucket, under which names, with which headers: the parts of an `s3://` address. No I/O."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, urlsplit

from vcache.errors import ConfigError
from vcache.kit.data import NamedTuple
from vcache.store.address import Options, StoreUrl, flag

__all__ = ["Place", "place_of"]

_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")
_FORM: Final = "write s3://BUCKET/PREFIX?endpoint=http://HOST:PORT"
_SSE: Final = ("AES256", "aws:kms", "aws:kms:dsse")


class Place(NamedTuple):
    """Where the objects of a store are, and what each new one is told.

    Attributes:
        prefix: what stands before the name of each object, with its last slash; or nothing.
        endpoint: the address of the server; None for what the settings of AWS say.
        region: None for what the settings of AWS say.
        profile: whose credentials of the settings of AWS; None for the usual order.
        path_style: whether the bucket is in the path of a request rather than in its host name.
        is_anonymous: whether requests are not signed.
        ca: a PEM file of the authorities to trust instead of the system's.
        headers: of each new object: its storage class and encryption.
        text: the address, for messages and to open it again.
    """

    bucket: str
    prefix: str
    endpoint: str | None
    region: str | None
    profile: str | None
    path_style: bool
    is_anonymous: bool
    ca: str | None
    headers: Mapping[str, str]
    text: str


def place_of(url: StoreUrl, options: Options) -> Place:
    """The place that an address names; takes its options, but does not finish them.

    Raises:
        ConfigError: no bucket, credentials in the address, or an option that does not fit.
    """
    bucket, _, prefix = url.path.removeprefix("//").partition("/")
    if "@" in bucket or "@" in url.options.get("endpoint", ""):
        hidden = re.sub(r"//[^/@]*@", "//…@", url.text)
        raise ConfigError(
            f"store {hidden!r}: credentials do not belong into an address: set AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, or name a profile with ?profile=NAME"
        )
    if not url.path.startswith("//") or not _BUCKET.fullmatch(bucket):
        raise ConfigError(f"store {url.text!r}: {bucket!r} is not the name of a bucket: {_FORM}")
    endpoint = options.take("endpoint", _endpoint)
    path_style = options.take("path_style", flag)
    return Place(
        bucket=bucket,
        prefix=_prefix(url, prefix),
        endpoint=endpoint,
        region=options.take("region", _word),
        profile=options.take("profile", _word),
        # Own servers hardly ever have a name for each bucket; a certificate does not cover one with dots.
        path_style=(endpoint is not None or "." in bucket) if path_style is None else path_style,
        is_anonymous=options.take("anonymous", flag) or False,
        ca=options.take("ca", str) or os.environ.get("AWS_CA_BUNDLE") or None,
        headers=_headers(options),
        text=url.text,
    )


def _prefix(url: StoreUrl, prefix: str) -> str:
    parts = prefix.strip("/").split("/")
    if any(part in (".", "..") for part in parts) or "" in parts[:-1]:
        raise ConfigError(f"store {url.text!r}: the prefix {prefix!r} has an empty part, '.' or '..' in it")
    return "/".join(parts) + "/" if parts[0] else ""


def _endpoint(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("it is not the address of a server: write http://HOST:PORT or https://HOST")
    return f"{parts.scheme}://{parts.netloc}{quote(parts.path.rstrip('/'), safe='/-_.~%')}"


def _word(text: str) -> str:
    if not text or any(letter.isspace() or not letter.isprintable() for letter in text):
        raise ValueError("it is empty, or has spaces in it")
    return text


def _sse(text: str) -> str:
    if text not in _SSE:
        raise ValueError(f"write one of {', '.join(_SSE)}")
    return text


def _headers(options: Options) -> Mapping[str, str]:
    asked = {
        "x-amz-server-side-encryption": options.take("sse", _sse),
        "x-amz-server-side-encryption-aws-kms-key-id": options.take("sse_key", _word),
        "x-amz-storage-class": options.take("storage_class", _word),
    }
    return {name: value for name, value in asked.items() if value is not None}
