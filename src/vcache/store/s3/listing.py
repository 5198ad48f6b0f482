"""The names of a bucket's objects, page by page. It must not know what the objects hold."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreUnavailable
from vcache.kit.data import NamedTuple
from vcache.store.s3.sign import query_of
from vcache.store.s3.wire import Call, Wire

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

__all__ = ["names_from", "which_are_listed"]

# What one page of a listing may cost, in single questions: S3 takes about as long for it as for this
# many, and AWS asks twelve times the price.
_PAGE_QUESTIONS: Final = 50


class _Page(NamedTuple):
    """A part of a listing; `token` asks for the next one, and is "" for the last."""

    names: Sequence[str]
    token: str


def names_from(wire: Wire, prefix: str, start: str) -> Iterator[str]:
    """The names of objects right below a place's prefix that begin so, in order.

    Args:
        prefix: of the place.
        start: with what a name begins.

    Raises:
        StoreError: the bucket cannot be listed.
    """
    asked = {"prefix": prefix + start, "delimiter": "/"}
    while True:
        page = _page(wire, prefix, asked)
        yield from page.names
        if not page.token:
            return
        asked["continuation-token"] = page.token


def which_are_listed(wire: Wire, prefix: str, names: Sequence[str]) -> tuple[set[str], list[str]]:
    """Which of many names a few pages of the listing show, and which names they do not reach.

    Args:
        names: sorted, each once.
    """
    found: set[str] = set()
    at = 0
    for _ in range(len(names) // _PAGE_QUESTIONS):
        if at == len(names):
            break
        # The page begins with the next name that is asked for: what lies between costs nothing.
        page = _page(wire, prefix, {"prefix": prefix, "start-after": prefix + _before(names[at])})
        found.update(page.names)
        at = bisect_right(names, page.names[-1]) if page.token and page.names else len(names)
    return found, list(names[at:])


def _before(name: str) -> str:
    """A text that comes before a name, and after all shorter ones of `[0-9a-f~]` that do."""
    return name[:-1] + chr(ord(name[-1]) - 1) + "~~"


def _page(wire: Wire, prefix: str, asked: Mapping[str, str]) -> _Page:
    answer = wire.one(Call("GET", query=query_of({"list-type": "2", **asked})))
    if answer.status != 200:
        raise wire.fault(answer)
    root = _parsed(bytes(answer.body))
    keys = [node.text or "" for node in root.iter() if _tag(node) == "Key"]
    names = [key.removeprefix(prefix) for key in keys if key.startswith(asked["prefix"])]
    texts = {_tag(node): node.text or "" for node in root}
    return _Page(names, texts.get("NextContinuationToken", "") if texts.get("IsTruncated") == "true" else "")


def _parsed(body: bytes) -> Element:
    # expat itself bounds what entities may grow to, since 2.4.1; the client bounds the answer.
    from xml.etree.ElementTree import ParseError, fromstring  # 6 ms that only a listing costs

    try:
        root = fromstring(body)  # noqa: S314 - see above
    except ParseError as error:
        raise StoreUnavailable(f"S3 answered with a listing that is none: {error}") from None
    if _tag(root) != "ListBucketResult":
        raise StoreUnavailable(f"S3 answered with a {_tag(root)!r:.80} to the question for a listing")
    return root


def _tag(node: Element) -> str:
    return node.tag.rpartition("}")[2]
