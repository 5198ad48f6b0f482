"""A bucket in memory behind the interface of the HTTP client, with the tempers that real servers have."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from urllib.parse import parse_qs, unquote, urlsplit

from vcache.errors import StoreError
from vcache.store.http.messages import Answer, Body, Request, TooLong

__all__ = ["FakeS3", "error"]


def error(
    status: int, code: str = "", message: str = "", headers: Iterable[str] = (), more: str = ""
) -> Answer:
    """An answer of S3 that is an error."""
    body = f"<Error><Code>{code}</Code><Message>{message}</Message>{more}</Error>" if code else ""
    return Answer(status, [f"{line}\r\n".encode() for line in headers], body.encode())


class FakeS3:
    """Takes the place of `HttpClient`.

    Attributes:
        objects: by path.
        condition: what `If-None-Match: *` gets where there is an object; None: it is ignored.
        uploads: parts that nobody has put together or removed, by id.
        asked: every request, as (method, path, query).
        answers: called first with each request; what it gives, if anything, is the answer.
        page: how many names a listing gives.
    """

    def __init__(self, condition: int | None = 412) -> None:
        self.objects: dict[str, bytes] = {}
        self.etags: dict[str, str] = {}
        self.condition = condition
        self.uploads: dict[str, dict[int, bytes]] = {}
        self.asked: list[tuple[str, str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.answers: Callable[[str, str, dict[str, str]], Answer | StoreError | None] = lambda *_: None
        self.page = 1000
        self.knows_ranges = True
        self.is_closed = False

    def __call__(self, base: str, **_: object) -> FakeS3:
        self.base = base
        return self

    def close(self) -> None:
        self.is_closed = True

    def count(self, method: str) -> int:
        return sum(asked[0] == method for asked in self.asked)

    def many(self, requests: Sequence[Request]) -> list[Answer | StoreError]:
        answers: list[Answer | StoreError] = []
        for method, target, headers, body, limit_bytes in requests:
            try:
                answers.append(
                    self.request(method, target, headers=headers, body=body, limit_bytes=limit_bytes)
                )
            except StoreError as failure:
                answers.append(failure)
        return answers

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Iterable[tuple[str, str]] = (),
        body: Body | None = None,
        limit_bytes: int | None = None,
    ) -> Answer:
        parts = urlsplit(target)
        path, known = unquote(parts.path), dict(headers)
        self.asked.append((method, path, parts.query))
        self.headers.append(known)
        given = self.answers(method, path, known)
        if isinstance(given, StoreError):
            raise given
        if given is None:
            query = {
                name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()
            }
            data = b"".join(body) if isinstance(body, tuple) else bytes(body or b"")
            assert known.get("x-amz-content-sha256") in (None, hashlib.sha256(data).hexdigest())
            given = self._done(method, path, query, known, data)
        if limit_bytes is not None and len(given.body) > limit_bytes:
            raise TooLong("too long")
        return given

    def _done(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], data: bytes
    ) -> Answer:
        if "list-type" in query:
            return self._listed(query)
        if method == "POST" or "uploadId" in query:
            return self._in_parts(method, path, query, headers, data)
        if method == "PUT":
            refused = self._refused(path, headers)
            if refused is None:
                self.keep(path, data)
            return refused or Answer(200, [b"ETag: " + self.etags[path].encode()], b"")
        if path not in self.objects:
            return error(404, "" if method == "HEAD" else "NoSuchKey")
        if method == "DELETE":
            del self.objects[path]
            return Answer(204, [], b"")
        return Answer(200, [], b"") if method == "HEAD" else self._got(path, headers)

    def keep(self, path: str, data: bytes) -> None:
        self.objects[path] = data
        self.etags[path] = f'"{hashlib.md5(data).hexdigest()}"'

    def _refused(self, path: str, headers: dict[str, str]) -> Answer | None:
        if headers.get("if-none-match") != "*":
            return None
        if self.condition in (400, 501):  # refused whether there is an object or not
            return error(self.condition, "NotImplemented")
        return (
            error(self.condition, "PreconditionFailed") if self.condition and path in self.objects else None
        )

    def _got(self, path: str, headers: dict[str, str]) -> Answer:
        data, etag = self.objects[path], self.etags[path]
        lines = [b"ETag: " + etag.encode()]
        if headers.get("if-match", etag) != etag:
            return error(412, "PreconditionFailed")
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", headers.get("range", ""))
        if found is None or not self.knows_ranges:
            return Answer(200, lines, data)
        first, last = int(found[1]), min(int(found[2]), len(data) - 1)
        if first >= len(data):
            return error(416, "InvalidRange")
        lines.append(f"Content-Range: bytes {first}-{last}/{len(data)}".encode())
        return Answer(206, lines, data[first : last + 1])

    def _in_parts(
        self, method: str, path: str, query: dict[str, str], headers: dict[str, str], data: bytes
    ) -> Answer:
        if "uploads" in query:
            name = f"upload/{len(self.asked)}+x"
            self.uploads[name] = {}
            return Answer(200, [], f"<X><UploadId>{name}</UploadId></X>".encode())
        upload = self.uploads.get(query["uploadId"])
        if upload is None:
            return error(404, "NoSuchUpload")
        if method == "DELETE":
            del self.uploads[query["uploadId"]]
            return Answer(204, [], b"")
        if method == "PUT":
            upload[int(query["partNumber"])] = data
            return Answer(200, [f'ETag: "{hashlib.md5(data).hexdigest()}"'.encode()], b"")
        refused = self._refused(path, headers)
        if refused is not None:
            return refused
        numbers = [int(number) for number in re.findall(r"<PartNumber>(\d+)<", data.decode())]
        assert numbers == sorted(upload)
        sums = b"".join(hashlib.md5(upload[number]).digest() for number in numbers)
        self.objects[path] = b"".join(upload[number] for number in numbers)
        self.etags[path] = f'"{hashlib.md5(sums).hexdigest()}-{len(numbers)}"'
        del self.uploads[query["uploadId"]]
        return Answer(200, [], b"<CompleteMultipartUploadResult/>")

    def _listed(self, query: dict[str, str]) -> Answer:
        bucket = "/bucket/"
        after = query.get("continuation-token") or query.get("start-after", "")
        keys = sorted(path.removeprefix(bucket) for path in self.objects)
        keys = [key for key in keys if key.startswith(query.get("prefix", "")) and key > after]
        some = keys[: self.page]
        more = "true" if len(some) < len(keys) else "false"
        token = f"<NextContinuationToken>{some[-1]}</NextContinuationToken>" if more == "true" else ""
        contents = "".join(f"<Contents><Key>{key}</Key></Contents>" for key in some)
        return Answer(
            200,
            [],
            f'<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>{more}</IsTruncated>'
            f"{token}{contents}</ListBucketResult>".encode(),
        )
