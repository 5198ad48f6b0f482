"""Objects up and down: small ones in one request, large ones in parts that are under way together.

It must not know what an object holds.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from vcache.errors import StoreError, StoreUnavailable
from vcache.hash import sha256
from vcache.kit.data import NamedTuple
from vcache.kit.deadlines import left_s
from vcache.store.http.messages import Answer, TooLong
from vcache.store.s3.faults import code_of
from vcache.store.s3.sign import NO_CONTENT, query_of
from vcache.store.s3.wire import Call, Wire

if TYPE_CHECKING:
    from typing_extensions import Buffer


__all__ = ["FIRST_BYTES", "PART_BYTES", "Object", "Piece", "beginnings", "downloaded", "pieces", "upload"]

FIRST_BYTES: Final = 32 << 20
"""What is asked for at first of an object whose size is not known."""

PART_BYTES: Final = 16 << 20
"""From this size on an object is sent in parts of it. The least that S3 takes is 5 MiB."""

_RANGE: Final = re.compile(r"bytes 0-\d+/(\d+)")
_ABORT_S: Final = 5.0


class Object(NamedTuple):
    """What is sent: an object in two pieces, which are not joined."""

    name: str
    start: bytes
    body: memoryview

    @property
    def size_bytes(self) -> int:
        return len(self.start) + self.body.nbytes


class Piece(NamedTuple):
    """The beginning of an object that is there.

    Attributes:
        size_bytes: of the whole object.
    """

    data: Buffer
    size_bytes: int
    answer: Answer

    @property
    def etag(self) -> str:
        """The mark of this version, with its quotes; "" where the server gives none."""
        return self.answer.headers.get("etag", "")


# -- down -----------------------------------------------------------------------------------------


def pieces(wire: Wire, names: Sequence[str]) -> list[Piece | StoreError | None]:
    """Objects, together; None for one that is not there. Of a large one it is the beginning.

    Most objects are small, and a range costs a server a tenth more: a large one is asked for again.
    """
    answers = wire.many([Call("GET", name, limit_bytes=FIRST_BYTES) for name in names])
    found = [_piece(wire, answer, FIRST_BYTES) for answer in answers]
    large = [place for place, answer in enumerate(answers) if isinstance(answer, TooLong)]
    if large:
        again = beginnings(wire, [names[place] for place in large], [FIRST_BYTES] * len(large))
        for place, piece in zip(large, again, strict=True):
            found[place] = piece
    return found


def beginnings(
    wire: Wire, names: Sequence[str], sizes_bytes: Sequence[int]
) -> list[Piece | StoreError | None]:
    """The first bytes of objects, together; None for one that is not there."""
    calls = [
        Call("GET", name, headers={"range": f"bytes=0-{size - 1}"})
        for name, size in zip(names, sizes_bytes, strict=True)
    ]
    answers = wire.many(calls)
    return [_piece(wire, answer, size) for answer, size in zip(answers, sizes_bytes, strict=True)]


def downloaded(wire: Wire, name: str, piece: Piece) -> Buffer | None:
    """The whole object behind its beginning; None where it was replaced or removed meanwhile.

    Raises:
        StoreError: some of it cannot be had.
    """
    have = memoryview(piece.data).nbytes
    if have == piece.size_bytes:
        return piece.data
    pin = {"if-match": piece.etag} if piece.etag else {}
    ranges = [
        (at, min(at + PART_BYTES, piece.size_bytes)) for at in range(have, piece.size_bytes, PART_BYTES)
    ]
    calls = [Call("GET", name, headers={"range": f"bytes={at}-{end - 1}", **pin}) for at, end in ranges]
    parts: list[Buffer] = [piece.data]
    for answer, (at, end) in zip(wire.many(calls), ranges, strict=True):
        if isinstance(answer, StoreError):
            raise answer
        if answer.status in (404, 412, 416):
            return None
        if answer.status != 206 or len(answer.body) != end - at:
            raise wire.fault(answer)
        parts.append(answer.body)
    return b"".join(parts)


def _piece(wire: Wire, answer: Answer | StoreError, asked_bytes: int) -> Piece | StoreError | None:
    if isinstance(answer, StoreError):
        return answer
    size_bytes = len(answer.body)
    if answer.status == 200:  # whole; also of a server that knows no ranges
        return Piece(answer.body, size_bytes, answer)
    if answer.status == 206:
        found = _RANGE.match(answer.headers.get("content-range", ""))
        if found is None or size_bytes > asked_bytes:
            return StoreUnavailable(f"S3 answered with {size_bytes} bytes to a request for {asked_bytes}")
        return Piece(answer.body, int(found[1]), answer)
    if answer.status == 416:  # an empty object, which has no first byte
        return Piece(b"", 0, answer)
    if answer.status == 404 and code_of(answer) != "NoSuchBucket":
        return None
    return wire.fault(answer)


# -- up -------------------------------------------------------------------------------------------


def upload(what: Object, headers: Mapping[str, str], *, is_new: bool) -> Call:
    """The call that sends an object in one request.

    Args:
        headers: what each new object is told.
        is_new: it is to be kept only if there is none of its name.
    """
    return Call(
        "PUT",
        what.name,
        headers={"if-none-match": "*"} if is_new else {},
        signed=headers,
        body=(what.start, what.body),
        content=sha256(what.start, what.body).hex(),
    )


def parts_of(what: Object) -> list[tuple[Buffer, ...]]:
    """An object cut into parts, of which only the first is made of two pieces."""
    first = PART_BYTES - len(what.start)
    if first <= 0:  # a head above 16 MiB is refused by every reader
        raise StoreError(f"an object's head of {len(what.start)} bytes is too large")
    cuts = range(first, what.body.nbytes, PART_BYTES)
    return [(what.start, what.body[:first]), *((what.body[at : at + PART_BYTES],) for at in cuts)]


def send_in_parts(wire: Wire, what: Object, headers: Mapping[str, str], *, is_new: bool) -> Answer:
    """The answer to the last request of an upload in parts: it is as if there had been only one.

    Parts that are not put together are removed: they would be paid for, and seen by nobody.

    Raises:
        StoreError: a part was not taken.
    """
    begun = wire.one(Call("POST", what.name, query="uploads=", signed=headers))
    upload_id = _element(begun, b"UploadId")
    if begun.status != 200 or not upload_id:
        raise wire.fault(begun)
    is_whole = False
    try:
        etags = _sent_parts(wire, what, upload_id)
        answer = _put_together(wire, what.name, upload_id, etags, is_new=is_new)
        is_whole = answer.status == 200
        return answer
    finally:
        if not is_whole:
            _abort(wire, what.name, upload_id)


def _sent_parts(wire: Wire, what: Object, upload_id: str) -> list[str]:
    calls = [
        Call(
            "PUT",
            what.name,
            query=query_of({"partNumber": str(number), "uploadId": upload_id}),
            body=part,
            content=sha256(*part).hex(),
        )
        for number, part in enumerate(parts_of(what), 1)
    ]
    etags = []
    for answer in wire.many(calls):
        if isinstance(answer, StoreError):
            raise answer
        if answer.status != 200:
            raise wire.fault(answer)
        etags.append(answer.headers.get("etag", ""))
    return etags


def _put_together(wire: Wire, name: str, upload_id: str, etags: Sequence[str], *, is_new: bool) -> Answer:
    from html import escape

    parts = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(etag, quote=False)}</ETag></Part>"
        for number, etag in enumerate(etags, 1)
    )
    body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
    answer = wire.one(
        Call(
            "POST",
            name,
            query=query_of({"uploadId": upload_id}),
            headers={"content-type": "application/xml", **({"if-none-match": "*"} if is_new else {})},
            body=body,
            content=sha256(body).hex() if body else NO_CONTENT,
        )
    )
    # The answer begins before the parts are put together: a failure comes as a 200 with an error in it.
    if answer.status == 200 and code_of(answer):
        raise StoreUnavailable(f"S3 did not put the parts of an object together: {code_of(answer)}")
    return answer


def _abort(wire: Wire, name: str, upload_id: str) -> None:
    """Remove the parts, also where the deadline of this thread's operation has passed: then nobody waits."""
    call = Call("DELETE", name, query=query_of({"uploadId": upload_id}))
    thread = threading.Thread(target=wire.many, args=([call],), name="vcache-s3-abort", daemon=True)
    thread.start()
    thread.join(left_s(_ABORT_S))


def _element(answer: Answer, name: bytes) -> str:
    found = re.search(rb"<%s>([^<]+)</%s>" % (name, name), bytes(answer.body[:4096]))
    return found[1].decode("utf-8", "replace") if found else ""
