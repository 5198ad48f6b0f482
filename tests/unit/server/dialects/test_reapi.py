"""What the gRPC dialect answers, call by call, over a real channel."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest
import zstandard

from tests.desks import on_thread
from tests.servers import certified
from vcache.errors import StoreUnavailable
from vcache.hash import digest
from vcache.server.callers import NOBODY, OPEN, Caller, Role
from vcache.server.counts import Slot
from vcache.server.dialects import reapi
from vcache.server.dialects.reapi import streams as streaming
from vcache.server.dialects.reapi.names import Resource, parse
from vcache.server.exchange import Desk
from vcache.server.refused import Refusal, Refused
from vcache.server.vault import Kept, Vault
from vcache.store.disk import DiskStore
from vcache.testing.records import body_of
from vcache.wire import reapi_pb2 as wire

ACTION = wire.Digest(hash="ab" * 32, size_bytes=142)
LARGE = body_of(5 << 20)
V2 = "/build.bazel.remote.execution.v2."
CAS = V2 + "ContentAddressableStorage/"
STREAM = "/google.bytestream.ByteStream/"
CODE = grpc.StatusCode


def named(content: bytes) -> wire.Digest:
    return wire.Digest(hash=hashlib.sha256(content).hexdigest(), size_bytes=len(content))


def blake3(content: bytes) -> wire.Digest:
    return wire.Digest(hash=digest(content).hex(), size_bytes=len(content))


class Server:
    """A listener over a store of its own, and a client of it."""

    def __init__(self, directory: Path, **options: Any) -> None:
        self.store = DiskStore(directory / "store")
        self.uploads = directory / "uploads"
        self.uploads.mkdir()
        self.vault = Vault(self.store)
        self.notes: list[tuple[str, str | bytes]] = []
        self.caller: Caller | Refused = OPEN
        self.full = False
        self.desk = desk = Desk(self.vault, 64 << 20, self.uploads, on_thread, self._admit, self._note)
        self.counts = Slot()
        self.listener = reapi.start("127.0.0.1:0", desk, self._authenticate, counts=self.counts, **options)
        self.channel = grpc.insecure_channel(
            f"127.0.0.1:{self.listener.port}", options=[("grpc.use_local_subchannel_pool", 1)]
        )
        self.headers: list[dict[str, Any]] = []

    def _authenticate(self, scope: dict[str, Any]) -> Caller:
        self.headers.append(scope)
        if isinstance(self.caller, Refused):
            raise self.caller
        return self.caller

    def _admit(self, caller: Caller, length: int | None) -> None:
        if self.full:
            raise Refused(Refusal.FULL, "the quota is used up")

    def _note(
        self, caller: Caller, action: str, dialect: str, realm: str, name: str | bytes, kept: Kept | None
    ) -> None:
        self.notes.append((realm, name))

    def close(self) -> None:
        self.channel.close()
        self.listener.stop(1)
        self.store.close()

    # -- calls -----------------------------------------------------------------------------

    def call(self, path: str, request: Any, answer: Any, metadata: Any = None) -> Any:
        ask: Any = self.channel.unary_unary(
            path,
            request_serializer=lambda each: each.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return ask(request, timeout=20, metadata=metadata)

    def result(self, **fields: Any) -> Any:
        fields.setdefault("action_digest", ACTION)
        return self.call(
            V2 + "ActionCache/GetActionResult", wire.GetActionResultRequest(**fields), wire.ActionResult
        )

    def update(self, result: wire.ActionResult, metadata: Any = None, **fields: Any) -> Any:
        fields.setdefault("action_digest", ACTION)
        request = wire.UpdateActionResultRequest(action_result=result, **fields)
        return self.call(V2 + "ActionCache/UpdateActionResult", request, wire.ActionResult, metadata)

    def missing(self, *digests: wire.Digest) -> list[wire.Digest]:
        request = wire.FindMissingBlobsRequest(blob_digests=digests)
        answer = self.call(CAS + "FindMissingBlobs", request, wire.FindMissingBlobsResponse)
        return list(answer.missing_blob_digests)

    def send(self, *pairs: tuple[wire.Digest, bytes], compressor: Any = wire.IDENTITY) -> list[int]:
        requests = [
            wire.BatchUpdateBlobsRequest.Request(digest=name, data=data, compressor=compressor)
            for name, data in pairs
        ]
        request = wire.BatchUpdateBlobsRequest(requests=requests)
        answer = self.call(CAS + "BatchUpdateBlobs", request, wire.BatchUpdateBlobsResponse)
        return [each.status.code for each in answer.responses]

    def put(self, *contents: bytes) -> None:
        assert self.send(*((named(content), content) for content in contents)) == [0] * len(contents)

    def fetch(self, *digests: wire.Digest, accept: Sequence[Any] = ()) -> list[Any]:
        request = wire.BatchReadBlobsRequest(digests=digests, acceptable_compressors=accept)
        return list(self.call(CAS + "BatchReadBlobs", request, wire.BatchReadBlobsResponse).responses)

    def read(self, name: str, offset: int = 0, limit: int = 0) -> bytes:
        ask = self.channel.unary_stream(
            STREAM + "Read",
            request_serializer=wire.ReadRequest.SerializeToString,
            response_deserializer=wire.ReadResponse.FromString,
        )
        request = wire.ReadRequest(resource_name=name, read_offset=offset, read_limit=limit)
        return b"".join(each.data for each in ask(request, timeout=20))

    def write(self, requests: Iterator[wire.WriteRequest]) -> int:
        ask = self.channel.stream_unary(
            STREAM + "Write",
            request_serializer=wire.WriteRequest.SerializeToString,
            response_deserializer=wire.WriteResponse.FromString,
        )
        answer: wire.WriteResponse = ask(requests, timeout=20)
        return answer.committed_size

    def status(self, name: str) -> tuple[int, bool]:
        request = wire.QueryWriteStatusRequest(resource_name=name)
        answer = self.call(STREAM + "QueryWriteStatus", request, wire.QueryWriteStatusResponse)
        return answer.committed_size, answer.complete


def pieces(
    name: str, data: bytes, *, start: int = 0, step: int = 1 << 20, finish: bool = True
) -> Iterator[wire.WriteRequest]:
    for at in range(start, max(len(data), start + 1), step):
        piece = data[at : at + step]
        is_last = at + len(piece) == len(data)
        yield wire.WriteRequest(
            resource_name=name if at == start else "",
            write_offset=at,
            data=piece,
            finish_write=finish and is_last,
        )


def upload(content: bytes, *, packed: bool = False, number: int = 1) -> str:
    one = named(content)
    kind = "compressed-blobs/zstd" if packed else "blobs"
    return f"inst/uploads/{number}/{kind}/{one.hash}/{one.size_bytes}"


def refused(work: Callable[[], object]) -> grpc.StatusCode:
    with pytest.raises(grpc.RpcError) as caught:
        work()
    return caught.value.code()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.close()
    assert list(server.uploads.iterdir()) == [], "an upload left its file behind"


# -- Capabilities --------------------------------------------------------------------------


def test_capabilities(server: Server) -> None:
    """API 2.0 to 2.3 (Debian's Bazel asks for 2.0), SHA-256 and BLAKE3, zstd; for everybody."""
    for caller in (OPEN, NOBODY, Refused(Refusal.UNAUTHENTICATED, "unknown")):
        server.caller = caller
        answer = server.call(
            V2 + "Capabilities/GetCapabilities", wire.GetCapabilitiesRequest(), wire.ServerCapabilities
        )
        assert (answer.low_api_version.major, answer.low_api_version.minor) == (2, 0)
        assert (answer.high_api_version.major, answer.high_api_version.minor) == (2, 3)
        assert list(answer.cache_capabilities.digest_functions) == [wire.SHA256, wire.BLAKE3]
        assert answer.cache_capabilities.action_cache_update_capabilities.update_enabled
        assert answer.cache_capabilities.max_batch_total_size_bytes < 4 << 20
        assert list(answer.cache_capabilities.supported_compressors) == [wire.ZSTD]


def test_health(server: Server) -> None:
    """Each service that is here is being served; others are not known."""
    path = "/grpc.health.v1.Health/Check"
    server.caller = NOBODY
    for service in ("", "build.bazel.remote.execution.v2.ActionCache", "google.bytestream.ByteStream"):
        answer = server.call(path, wire.HealthCheckRequest(service=service), wire.HealthCheckResponse)
        assert answer.status == wire.HealthCheckResponse.SERVING
    request = wire.HealthCheckRequest(service="x")
    assert refused(lambda: server.call(path, request, wire.HealthCheckResponse)) is CODE.NOT_FOUND
    execute = V2 + "Execution/Execute"
    assert refused(lambda: server.call(execute, request, wire.HealthCheckResponse)) is CODE.UNIMPLEMENTED


# -- ActionCache ---------------------------------------------------------------------------


def test_a_result_comes_back_whole_or_not_at_all(server: Server) -> None:
    """As it was put, unknown fields too; a miss while something is missing that it refers to."""
    result = wire.ActionResult(output_files=[wire.OutputFile(path="o", digest=named(b"out"))], exit_code=0)
    result.MergeFromString(b"\xa2\x06\x02hi")
    assert refused(server.result) is CODE.NOT_FOUND
    assert server.update(result) == result
    assert refused(server.result) is CODE.NOT_FOUND
    server.put(b"out")
    assert server.result().SerializeToString() == result.SerializeToString()
    assert refused(lambda: server.result(instance_name="other")) is CODE.NOT_FOUND
    assert (server.counts.hits, server.counts.misses) == (1, 3)


def test_texts_and_files_are_inlined_for_who_asks(server: Server) -> None:
    """Standard output, standard error, and the files that are named, beside their digests."""
    result = wire.ActionResult(
        stdout_digest=named(b"so"),
        stderr_digest=named(b"se"),
        output_files=[
            wire.OutputFile(path="a", digest=named(b"aa")),
            wire.OutputFile(path="b", digest=named(b"bb")),
        ],
    )
    server.put(b"so", b"se", b"aa", b"bb")
    server.update(result)
    plain = server.result()
    assert (plain.stdout_raw, plain.stderr_raw, plain.output_files[0].contents) == (b"", b"", b"")
    full = server.result(inline_stdout=True, inline_stderr=True, inline_output_files=["b"])
    assert (full.stdout_raw, full.stderr_raw) == (b"so", b"se")
    assert full.stdout_digest == named(b"so")
    assert [file.contents for file in full.output_files] == [b"", b"bb"]


def test_what_does_not_fit_a_message_is_not_inlined(server: Server) -> None:
    """An answer stays below what clients take."""
    half = body_of(2 << 20)
    server.put(half)
    server.update(wire.ActionResult(stdout_digest=named(half), stderr_digest=named(half)))
    result = server.result(inline_stdout=True, inline_stderr=True)
    assert (len(result.stdout_raw), len(result.stderr_raw)) == (2 << 20, 0)


def test_what_a_build_says_of_itself_is_kept(server: Server) -> None:
    """Target and mnemonic, so that hits can be told per target; the cost of the action, to be saved."""
    said = wire.RequestMetadata(
        target_id="//a:b", action_mnemonic="CppCompile", tool_details=wire.ToolDetails(tool_name="bazel")
    )
    name = "build.bazel.remote.execution.v2.requestmetadata-bin"
    metadata = wire.ExecutedActionMetadata()
    metadata.virtual_execution_duration.seconds = 3
    server.update(wire.ActionResult(execution_metadata=metadata), metadata=[(name, said.SerializeToString())])
    found = server.vault.get("", "ac", ACTION.hash)
    assert found is not None
    assert found.meta == {"target": "//a:b", "mnemonic": "CppCompile", "tool": "bazel"}
    server.result()
    assert server.counts.saved_ns == 3_000_000_000


def test_a_value_that_is_no_result_is_a_miss(server: Server) -> None:
    """ccache keeps its own here, with layout=bazel."""
    server.vault.put("", "ac", ACTION.hash, b"\xcc\xac\x01 something")
    assert refused(server.result) is CODE.NOT_FOUND


def test_moons_json_is_a_result(server: Server) -> None:
    """What came over HTTP as JSON is there over gRPC."""
    body = b'{"exitCode": 0, "stdoutRaw": "aGk="}'
    server.vault.put("", "ac", f"inst/{ACTION.hash}", body, meta={"type": "application/json"})
    assert server.result(instance_name="inst").stdout_raw == b"hi"


# -- ContentAddressableStorage -------------------------------------------------------------


def test_contents_by_batches(server: Server) -> None:
    """Under SHA-256 and BLAKE3, packed or not; what is missing is said, the empty one never is."""
    one, two = b"one", b"two " * 1000
    assert server.missing(named(one), blake3(two), named(b"")) == [named(one), blake3(two)]
    assert server.send((named(one), one), (blake3(two), two), (named(b""), b"")) == [0, 0, 0]
    packed = zstandard.compress(two)
    assert server.send((named(two), packed), compressor=wire.ZSTD) == [0]
    assert server.missing(named(one), blake3(two), named(two), named(b"")) == []
    answers = server.fetch(named(one), blake3(two), named(b"x"), named(b""))
    assert [(each.status.code, each.data) for each in answers] == [(0, one), (0, two), (5, b""), (0, b"")]
    (answer,) = server.fetch(named(two), accept=[wire.ZSTD])
    assert answer.compressor == wire.ZSTD
    assert zstandard.decompress(answer.data) == two
    (answer,) = server.fetch(named(one), accept=[wire.ZSTD])
    assert (answer.compressor, answer.data) == (wire.IDENTITY, one)


def test_each_lie_of_a_batch_has_its_status(server: Server) -> None:
    """The others of the batch are kept."""
    good = b"good"
    wrong_size = wire.Digest(hash=named(good).hash, size_bytes=5)
    assert server.send((named(b"x"), b"y"), (wrong_size, good), (named(good), good)) == [3, 3, 0]
    packed = zstandard.compress(bytes(10_000_000))
    lies = [(named(b"x"), packed), (named(b"x"), b"noise"), (named(b"xyz"), zstandard.compress(b"xyz")[:-2])]
    assert server.send(*lies, compressor=wire.ZSTD) == [3, 3, 3]
    assert server.send((named(good), good), (named(b"n"), b"n"), compressor=wire.DEFLATE) == [3, 3]
    assert server.missing(named(good), named(b"x"), named(b"xyz")) == [named(b"x"), named(b"xyz")]


def test_a_batch_is_no_longer_than_a_message(server: Server) -> None:
    """More is refused by what was asked for, and never sent whatever sizes were claimed."""
    contents = [body_of(900 << 10, seed=seed) for seed in range(6)]
    for content in contents:
        server.put(content)
    assert refused(lambda: server.fetch(*map(named, contents))) is CODE.INVALID_ARGUMENT
    small = [wire.Digest(hash=named(content).hash, size_bytes=1) for content in contents]
    assert [each.status.code for each in server.fetch(*small)] == [5] * 6


@pytest.mark.parametrize("name", ["", "x", "AB" * 32, "ab" * 20])
def test_hashes_of_other_kinds_are_refused(server: Server, name: str) -> None:
    """64 lower-case hexadecimal digits, everywhere."""
    bad = wire.Digest(hash=name, size_bytes=1)
    assert refused(lambda: server.missing(bad)) is CODE.INVALID_ARGUMENT
    assert refused(lambda: server.fetch(bad)) is CODE.INVALID_ARGUMENT
    assert refused(lambda: server.result(action_digest=bad)) is CODE.INVALID_ARGUMENT
    assert refused(lambda: server.update(wire.ActionResult(), action_digest=bad)) is CODE.INVALID_ARGUMENT
    assert server.send((bad, b"x")) == [3]


def test_trees(server: Server) -> None:
    """A directory and all below it, each once, whatever their number; the root has to be there."""
    leaves = [wire.Directory(files=[wire.FileNode(name=str(n), digest=named(b"x"))]) for n in range(1200)]
    nodes = [
        wire.DirectoryNode(name=f"{n:04}", digest=named(leaf.SerializeToString()))
        for n, leaf in enumerate(leaves)
    ]
    root = wire.Directory(directories=[*nodes, nodes[0]])
    server.put(root.SerializeToString(), *(leaf.SerializeToString() for leaf in leaves))

    def tree(name: wire.Digest, token: str = "") -> list[wire.Directory]:
        ask = server.channel.unary_stream(
            CAS + "GetTree",
            request_serializer=wire.GetTreeRequest.SerializeToString,
            response_deserializer=wire.GetTreeResponse.FromString,
        )
        request = wire.GetTreeRequest(root_digest=name, page_token=token)
        return [each for part in ask(request, timeout=20) for each in part.directories]

    assert tree(named(root.SerializeToString())) == [root, *leaves]
    server.vault.delete("", "cas", nodes[7].digest.hash)
    assert len(tree(named(root.SerializeToString()))) == 1200
    assert refused(lambda: tree(named(b"nowhere"))) is CODE.NOT_FOUND
    server.put(b"\xff\xff")
    assert refused(lambda: tree(named(b"\xff\xff"))) is CODE.INVALID_ARGUMENT
    assert refused(lambda: tree(named(b"x"), "page 2")) is CODE.INVALID_ARGUMENT
    assert tree(named(b"")) == [wire.Directory()]


# -- ByteStream ----------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"x", b"text " * 1000, LARGE], ids=["tiny", "text", "large"])
@pytest.mark.parametrize("packed", [False, True])
def test_a_content_as_a_stream(server: Server, content: bytes, packed: bool) -> None:
    """Up and down, packed and not, from any place on."""
    data = zstandard.compress(content) if packed else content
    name = upload(content, packed=packed)
    assert server.status(name) == (0, False)
    assert server.write(pieces(name, data, step=300_000)) == len(data)
    assert server.status(name) == (len(content), True)
    one = named(content)
    plain, zstd = f"blobs/{one.hash}/{one.size_bytes}", f"i/compressed-blobs/zstd/{one.hash}/{one.size_bytes}"
    assert server.read(plain) == content
    assert zstandard.decompress(server.read(zstd)) == content
    half = len(content) // 2
    assert server.read(plain, half) == content[half:]
    assert server.read(plain, half, 3) == content[half : half + 3]
    assert server.read(plain, len(content)) == b""
    assert zstandard.decompress(server.read(zstd, half)) == content[half:]
    assert refused(lambda: server.read(plain, len(content) + 1)) is CODE.OUT_OF_RANGE
    assert refused(lambda: server.read(plain, -1)) is CODE.INVALID_ARGUMENT
    assert refused(lambda: server.read(zstd, 0, 5)) is CODE.INVALID_ARGUMENT
    assert server.notes == [("cas", one.hash)]


def test_blake3_has_its_segment(server: Server) -> None:
    """`blobs/blake3/<hash>/<size>`, as the function has to be said of all but the old ones."""
    one = blake3(LARGE)
    name = f"uploads/u/blobs/blake3/{one.hash}/{one.size_bytes}"
    assert server.write(pieces(name, LARGE)) == len(LARGE)
    assert server.read(f"blobs/blake3/{one.hash}/{one.size_bytes}") == LARGE


def test_a_second_upload_is_answered_at_once(server: Server) -> None:
    """With the size of the content, or -1 where it is packed, whatever was sent by then."""
    assert server.write(pieces(upload(LARGE), LARGE)) == len(LARGE)
    assert server.write(pieces(upload(LARGE, number=2), LARGE, step=1000, finish=False)) == len(LARGE)
    assert server.write(pieces(upload(LARGE, packed=True), b"anything")) == -1
    assert len(server.notes) == 1


def test_nothing_is_there_of_a_missing_content(server: Server) -> None:
    """NOT_FOUND; the same where the size is another one."""
    server.put(b"content")
    one = named(b"content")
    assert refused(lambda: server.read(f"blobs/{'ab' * 32}/7")) is CODE.NOT_FOUND
    assert refused(lambda: server.read(f"blobs/{one.hash}/8")) is CODE.NOT_FOUND
    empty = named(b"")
    assert server.read(f"blobs/{empty.hash}/0") == b""


@pytest.mark.parametrize("packed", [False, True])
def test_an_upload_that_stopped_goes_on(server: Server, packed: bool) -> None:
    """From what was committed, and from there only; packed ones by the bytes as they were sent."""
    data = zstandard.compress(LARGE) if packed else LARGE
    name = upload(LARGE, packed=packed)
    cut = 3 << 20
    assert server.write(pieces(name, data[:cut], finish=False)) == cut
    assert server.status(name) == (cut, False)
    assert refused(lambda: server.write(pieces(name, data, start=cut + 1))) is CODE.INVALID_ARGUMENT
    assert refused(lambda: server.write(pieces(name, data, start=cut - 1))) is CODE.INVALID_ARGUMENT
    assert server.write(pieces(name, data, start=cut)) == len(data)
    assert server.missing(named(LARGE)) == []


def test_an_upload_whose_connection_broke_goes_on(server: Server) -> None:
    """What had come is kept for a while."""
    name = upload(LARGE)
    gone = threading.Event()

    def broken() -> Iterator[wire.WriteRequest]:
        yield from pieces(name, LARGE[: 2 << 20], finish=False)
        gone.wait(20)

    ask = server.channel.stream_unary(
        STREAM + "Write",
        request_serializer=wire.WriteRequest.SerializeToString,
        response_deserializer=wire.WriteResponse.FromString,
    )
    call = ask.future(broken(), timeout=20)
    _until(lambda: any(server.uploads.iterdir()))
    call.cancel()
    gone.set()
    _until(lambda: server.status(name)[0] > 0)
    committed, is_complete = server.status(name)
    assert not is_complete
    assert server.write(pieces(name, LARGE, start=committed)) == len(LARGE)


def test_a_new_upload_of_a_name_begins_anew(server: Server) -> None:
    """An offset of nothing drops what was there."""
    name = upload(LARGE)
    server.write(pieces(name, LARGE[: 2 << 20], finish=False))
    assert server.write(pieces(name, LARGE)) == len(LARGE)


def test_uploads_that_nobody_goes_on_with_are_forgotten(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a while, and the oldest of too many; their files go with them."""
    monkeypatch.setattr(streaming, "_MOST_PARTIAL", 2)
    for number in range(3):
        server.write(pieces(upload(LARGE, number=number), LARGE[: 2 << 20], finish=False))
    assert len(list(server.uploads.iterdir())) == 2
    assert server.status(upload(LARGE, number=0)) == (0, False)
    assert server.status(upload(LARGE, number=2)) == (2 << 20, False)
    monkeypatch.setattr(streaming, "_PARTIAL_BYTES", 3 << 20)
    server.write(pieces(upload(LARGE, number=3), LARGE[: 2 << 20], finish=False))
    assert server.status(upload(LARGE, number=2)) == (0, False)
    assert len(list(server.uploads.iterdir())) == 1
    streams = server.listener._streams
    now_s = streams._clock()
    streams._clock = lambda: now_s + 601
    streams.sweep()
    assert list(server.uploads.iterdir()) == []


def test_who_stalls_is_given_up(server: Server) -> None:
    """A client that sends a piece and then nothing does not hold a thread for ever."""
    name = upload(LARGE)
    gone = threading.Event()

    def stalled() -> Iterator[wire.WriteRequest]:
        yield from pieces(name, LARGE[: 2 << 20], finish=False)
        gone.wait(20)

    ask = server.channel.stream_unary(
        STREAM + "Write",
        request_serializer=wire.WriteRequest.SerializeToString,
        response_deserializer=wire.WriteResponse.FromString,
    )
    call = ask.future(stalled(), timeout=20)
    _until(lambda: any(server.uploads.iterdir()))
    streams = server.listener._streams
    now_s = streams._clock()
    streams._clock = lambda: now_s + 40
    streams.sweep()
    assert call.code() is CODE.CANCELLED
    gone.set()
    streams._clock = lambda: now_s + 2000
    _until(lambda: not streams._running)
    streams.sweep()


@pytest.mark.parametrize("packed", [False, True])
def test_uploads_that_lie_are_refused(server: Server, packed: bool) -> None:
    """Other bytes, fewer, more, out of order, beyond the end, damaged: nothing is kept."""
    content = body_of(2 << 20)
    other = body_of(2 << 20, seed=1)

    def packed_or_not(data: bytes) -> bytes:
        return zstandard.compress(data) if packed else data

    name = upload(content, packed=packed)
    good = packed_or_not(content)
    lies: list[Iterator[wire.WriteRequest]] = [
        pieces(name, packed_or_not(other)),
        pieces(name, packed_or_not(content[:-1])),
        pieces(name, packed_or_not(content + b"x")),
        pieces(name, good[: len(good) // 2]),
        iter([]),
        itertools.chain(pieces(name, good[:500], finish=False), pieces("", good, start=501)),
        itertools.chain(pieces(name, good), [wire.WriteRequest(write_offset=len(good), data=b"x")]),
        itertools.chain(
            pieces(name, good[:500], finish=False),
            [wire.WriteRequest(resource_name="other", write_offset=500, data=b"x")],
        ),
    ]
    if packed:
        lies.append(pieces(name, b"noise " * 1000))
        lies.append(pieces(name, zstandard.compress(bytes(500 << 20))))
    for lie in lies:
        assert refused(lambda lie=lie: server.write(lie)) is CODE.INVALID_ARGUMENT  # type: ignore[misc]
    assert server.missing(named(content)) == [named(content)]
    assert server.notes == []
    huge = f"uploads/u/blobs/{'ab' * 32}/{1 << 40}"
    assert refused(lambda: server.write(pieces(huge, b"x"))) is CODE.INVALID_ARGUMENT


# -- names ---------------------------------------------------------------------------------

_H = "ab" * 32


@pytest.mark.parametrize(
    ("name", "is_upload", "parts"),
    [
        (f"blobs/{_H}/5", False, Resource(_H, 5, False, "")),
        (f"a/b/blobs/{_H}/5", False, Resource(_H, 5, False, "")),
        (f"blobs/blake3/{_H}/0", False, Resource(_H, 0, False, "", True)),
        (f"i/compressed-blobs/zstd/{_H}/5", False, Resource(_H, 5, True, "")),
        (f"i/compressed-blobs/zstd/blake3/{_H}/5", False, Resource(_H, 5, True, "", True)),
        (f"uploads/u1/blobs/{_H}/5", True, Resource(_H, 5, False, "u1")),
        (f"i/uploads/u1/blobs/{_H}/5/some/note", True, Resource(_H, 5, False, "u1")),
        (f"uploads/u1/compressed-blobs/zstd/blake3/{_H}/5/x", True, Resource(_H, 5, True, "u1", True)),
    ],
)
def test_names_of_contents(name: str, is_upload: bool, parts: Resource) -> None:
    """With instance, function and notes, or without."""
    assert parse(name, is_upload=is_upload) == parts


@pytest.mark.parametrize("is_upload", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "", "/", "blobs", f"blobs/{_H}", f"blobs/{_H}/", f"blobs/{_H}/-1", f"blobs/{_H}/x", f"blobs/{_H}/05",
        f"blobs/{_H.upper()}/5", f"blobs/sha1/{_H}/5", f"blobs/{_H[:40]}/5", f"compressed-blobs/{_H}/5",
        f"compressed-blobs/deflate/{_H}/5", "uploads/u", f"uploads/blobs/{_H}/5", f"{'i/' * 600}blobs/{_H}/5",
        f"blobs/{_H}/{'9' * 17}",
    ],
)  # fmt: skip
def test_what_is_no_name(name: str, is_upload: bool) -> None:
    """Refused as malformed, as a download and behind `uploads/…/`."""
    for full in {name, f"uploads/u/{name}"} if is_upload else {name}:
        with pytest.raises(Refused) as caught:
            parse(full, is_upload=is_upload)
        assert caught.value.kind is Refusal.MALFORMED


# -- rights --------------------------------------------------------------------------------


def test_rights(server: Server) -> None:
    """Nobody reads nothing, a reader writes nothing, a writer fills contents, a builder says results."""
    one, result = (named(b"x"), b"x"), wire.ActionResult()
    writes: list[Callable[[], object]] = [
        lambda: server.send(one),
        lambda: server.write(pieces(upload(b"x"), b"x")),
        lambda: server.status(upload(b"x")),
    ]
    for caller in (NOBODY, Refused(Refusal.UNAUTHENTICATED, "unknown")):
        server.caller = caller
        reads: list[Callable[[], object]] = [
            server.result,
            lambda: server.missing(one[0]),
            lambda: server.fetch(one[0]),
            lambda: server.read(f"blobs/{one[0].hash}/1"),
        ]
        for work in (*reads, *writes, lambda: server.update(result)):
            assert refused(work) is CODE.UNAUTHENTICATED
    server.caller = Caller("t", Role.READER, "ns", may_write_results=False)
    for work in (*writes, lambda: server.update(result)):
        assert refused(work) is CODE.PERMISSION_DENIED
    assert server.missing(one[0]) == [one[0]]
    server.caller = Caller("t", Role.WRITER, "ns", may_write_results=False)
    for work in writes:
        work()
    assert refused(lambda: server.update(result)) is CODE.PERMISSION_DENIED
    server.caller = Caller("t", Role.BUILDER, "ns")
    server.update(result)
    server.result()
    server.caller = Caller("t", Role.BUILDER, "other")
    assert refused(server.result) is CODE.NOT_FOUND
    assert server.missing(one[0]) == [one[0]]


def test_the_authorization_is_handed_on(server: Server) -> None:
    """As ASGI has it, so that one authenticator serves both."""
    path = V2 + "Capabilities/GetCapabilities"
    server.call(
        path, wire.GetCapabilitiesRequest(), wire.ServerCapabilities, metadata=[("authorization", "Bearer x")]
    )
    assert server.headers[-1] == {"headers": [(b"authorization", b"Bearer x")]}


def test_no_room_is_said(server: Server) -> None:
    """RESOURCE_EXHAUSTED where nothing more is taken; what is there is still served."""
    server.put(b"x")
    server.full = True
    assert server.send((named(b"y"), b"y")) == [8]
    assert server.send((named(b"x"), b"x")) == [0]
    assert refused(lambda: server.write(pieces(upload(LARGE), LARGE))) is CODE.RESOURCE_EXHAUSTED
    assert refused(lambda: server.update(wire.ActionResult())) is CODE.RESOURCE_EXHAUSTED
    assert server.fetch(named(b"x"))[0].data == b"x"
    assert server.counts.refused == {507: 3}


def test_what_a_batch_refuses_is_counted(server: Server) -> None:
    """Each content by its status; a batch of which nothing was kept is no put."""
    assert server.send((named(b"x"), b"y")) == [3]
    assert (server.counts.puts, server.counts.refused) == (0, {400: 1})
    assert server.send((named(b"x"), b"x"), (named(b"z"), b"y")) == [0, 3]
    assert (server.counts.puts, server.counts.refused) == (1, {400: 2})


def test_tls(tmp_path: Path) -> None:
    """With a certificate only those are served who speak TLS and believe it."""
    cert = tmp_path / "cert.pem"
    key = certified(cert)
    server = Server(tmp_path, cert=cert, key=key)
    try:
        request, path = wire.GetCapabilitiesRequest(), V2 + "Capabilities/GetCapabilities"
        assert refused(lambda: server.call(path, request, wire.ServerCapabilities)) is CODE.UNAVAILABLE
        server.channel.close()
        server.channel = grpc.secure_channel(
            f"localhost:{server.listener.port}", grpc.ssl_channel_credentials(cert.read_bytes())
        )
        assert server.call(path, request, wire.ServerCapabilities).low_api_version.major == 2
    finally:
        server.close()


def test_an_address_in_use_is_said(server: Server) -> None:
    """Two servers do not share a port."""
    with pytest.raises(StoreUnavailable, match=str(server.listener.port)):
        reapi.start(f"127.0.0.1:{server.listener.port}", server.desk, lambda _: OPEN)


def test_a_stop_lets_calls_end(tmp_path: Path) -> None:
    """What was begun is finished within the grace; then nobody listens."""
    server = Server(tmp_path)
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[wire.WriteRequest]:
        parts = list(pieces(upload(LARGE), LARGE))
        yield parts[0]
        begun.set()
        go_on.wait(20)
        yield from parts[1:]

    committed: list[int] = []
    writer = threading.Thread(target=lambda: committed.append(server.write(slow())))
    writer.start()
    assert begun.wait(20)
    stopper = threading.Thread(target=lambda: server.listener.stop(20))
    stopper.start()
    go_on.set()
    writer.join(20)
    stopper.join(20)
    assert committed == [len(LARGE)]
    assert server.vault.has("", "cas", named(LARGE).hash)
    server.close()


def _until(is_so: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(2000):
        if is_so():
            return
        waiting.wait(0.01)
    raise TimeoutError("it did not come about")
