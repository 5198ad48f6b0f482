"""The REAPI tier: what it makes of servers that are gone, slow, strict, old or lying; addresses; forks."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.patience import NEVER_S, no_hang
from tests.servers import certified
from vcache.entry import Key, make_key
from vcache.errors import (
    ConfigError,
    StoreClosed,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
)
from vcache.kit.deadlines import Within
from vcache.store import actions
from vcache.store.address import Options, parse_url
from vcache.store.reapi import open_url
from vcache.store.reapi.forks import Gate
from vcache.store.reapi.store import ReapiStore
from vcache.testing.records import body_of, make_record
from vcache.wire import reapi_pb2 as wire

KEY = make_key("k")
LARGE = body_of(3 << 20)
MIDDLE = body_of(200_000)
CODE = grpc.StatusCode
Answer = Callable[[Any, grpc.ServicerContext], Any]

_REQUESTS: dict[str, Any] = {
    "GetCapabilities": wire.GetCapabilitiesRequest,
    "GetActionResult": wire.GetActionResultRequest,
    "UpdateActionResult": wire.UpdateActionResultRequest,
    "FindMissingBlobs": wire.FindMissingBlobsRequest,
    "BatchUpdateBlobs": wire.BatchUpdateBlobsRequest,
    "BatchReadBlobs": wire.BatchReadBlobsRequest,
    "Read": wire.ReadRequest,
    "Write": wire.WriteRequest,
}


class Scripted:
    """A server that keeps results and contents, but for the methods that a test answers itself.

    Attributes:
        answers: by the name of the method.
        asked: the names of the methods, as they were called.
    """

    def __init__(self, *, credentials: grpc.ServerCredentials | None = None) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.metadata: list[dict[str, Any]] = []
        self.results: dict[str, wire.ActionResult] = {}
        self.blobs: dict[str, bytes] = {}
        self.offer = wire.CacheCapabilities(digest_functions=[wire.SHA256])
        self.gone = threading.Event()
        handlers: list[Any] = [_Handlers(self)]
        self.server = grpc.server(futures.ThreadPoolExecutor(16), handlers=handlers)
        if credentials is None:
            self.port = self.server.add_insecure_port("127.0.0.1:0")
        else:
            self.port = self.server.add_secure_port("127.0.0.1:0", credentials)
        self.server.start()

    def close(self) -> None:
        self.gone.set()
        self.server.stop(None).wait()

    def open(self, rest: str = "") -> ReapiStore:
        url = parse_url(f"reapi://127.0.0.1:{self.port}{rest}")
        store = open_url(url, Options(url))
        assert isinstance(store, ReapiStore)
        return store

    # -- what it does by itself ------------------------------------------------------------

    def GetCapabilities(self, request: Any, context: Any) -> Any:  # noqa: N802
        return wire.ServerCapabilities(cache_capabilities=self.offer)

    def GetActionResult(self, request: Any, context: Any) -> Any:  # noqa: N802
        found = self.results.get(request.action_digest.hash)
        return found or context.abort(CODE.NOT_FOUND, "none")

    def UpdateActionResult(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.results[request.action_digest.hash] = request.action_result
        return request.action_result

    def FindMissingBlobs(self, request: Any, context: Any) -> Any:  # noqa: N802
        lacking = [each for each in request.blob_digests if each.hash not in self.blobs]
        return wire.FindMissingBlobsResponse(missing_blob_digests=lacking)

    def BatchUpdateBlobs(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = wire.BatchUpdateBlobsResponse()
        for each in request.requests:
            self.blobs[each.digest.hash] = each.data
            answer.responses.add(digest=each.digest)
        return answer

    def BatchReadBlobs(self, request: Any, context: Any) -> Any:  # noqa: N802
        answer = wire.BatchReadBlobsResponse()
        for each in request.digests:
            data = self.blobs.get(each.hash)
            status = wire.Status(code=5 if data is None else 0)
            answer.responses.add(digest=each, data=data or b"", status=status)
        return answer

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        data = self.blobs.get(request.resource_name.split("/")[-2])
        if data is None:
            context.abort(CODE.NOT_FOUND, "none")
        assert data is not None
        for start in range(0, len(data), 1 << 20):
            yield wire.ReadResponse(data=data[start : start + (1 << 20)])

    def Write(self, requests: Any, context: Any) -> Any:  # noqa: N802
        parts = list(requests)
        data = b"".join(part.data for part in parts)
        self.blobs[parts[0].resource_name.split("/")[-2]] = data
        return wire.WriteResponse(committed_size=len(data))


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, script: Scripted) -> None:
        self._script = script

    def service(self, handler_call_details: Any) -> Any:
        name = handler_call_details.method.rpartition("/")[2]
        script = self._script
        script.asked.append(name)
        script.metadata.append(dict(handler_call_details.invocation_metadata))
        own = getattr(script, name)
        make = {"Read": grpc.unary_stream_rpc_method_handler, "Write": grpc.stream_unary_rpc_method_handler}
        return make.get(name, grpc.unary_unary_rpc_method_handler)(
            script.answers.get(name, own),
            request_deserializer=_REQUESTS[name].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


@pytest.fixture
def script() -> Iterator[Scripted]:
    script = Scripted()
    yield script
    script.close()


@pytest.fixture
def store(script: Scripted) -> Iterator[ReapiStore]:
    store = script.open()
    yield store
    store.close()


def aborting(code: grpc.StatusCode) -> Answer:
    return lambda request, context: context.abort(code, "because")


# -- what is sent --------------------------------------------------------------------------


def test_a_small_record_is_one_call(script: Scripted, store: ReapiStore) -> None:
    """After the capabilities, asked once, a put is one call and a get another."""
    store.put(KEY, make_record(KEY))
    store.get(KEY)
    store.get(KEY)
    assert script.asked == ["GetCapabilities", "UpdateActionResult", "GetActionResult", "GetActionResult"]


@pytest.mark.parametrize(
    ("content", "up", "down"), [(MIDDLE, "BatchUpdateBlobs", "BatchReadBlobs"), (LARGE, "Write", "Read")]
)
def test_a_large_body_is_a_blob(
    script: Scripted, store: ReapiStore, content: bytes, up: str, down: str
) -> None:
    """Sent before its result, and only if the server lacks it; many small blobs share messages."""
    store.put(KEY, make_record(KEY, content))
    assert script.asked == ["GetCapabilities", "FindMissingBlobs", up, "UpdateActionResult"]
    del script.asked[:]
    other = make_key("other")
    store.put(other, make_record(other, content))
    assert script.asked == ["FindMissingBlobs", "UpdateActionResult"]
    del script.asked[:]
    got = store.get(KEY)
    assert got is not None
    assert got.body == content
    assert script.asked == ["GetActionResult", down]


def test_a_batch_is_few_calls(script: Scripted, store: ReapiStore) -> None:
    """Blobs of many records go in few messages, up and down."""
    records = {key: make_record(key, body_of(40_000, seed=n)) for n in range(50) if (key := make_key(f"{n}"))}
    store.put_many(records)
    assert script.asked.count("FindMissingBlobs") == 1
    assert script.asked.count("BatchUpdateBlobs") == 1
    found = store.get_many(list(records))
    assert {key: record.body for key, record in found.items()} == {
        key: record.body for key, record in records.items()
    }
    assert script.asked.count("BatchReadBlobs") == 1


def test_the_servers_limit_of_messages_is_kept(script: Scripted, store: ReapiStore) -> None:
    """A batch is no longer than the server said; what does not fit goes as a stream."""
    script.offer.max_batch_total_size_bytes = 100_000
    sizes: list[int] = []
    own = script.BatchUpdateBlobs

    def measured(request: Any, context: Any) -> Any:
        sizes.append(request.ByteSize())
        return own(request, context)

    script.answers["BatchUpdateBlobs"] = measured
    store.put_many(
        {key: make_record(key, body_of(40_000, seed=n)) for n in range(5) if (key := make_key(f"{n}"))}
    )
    store.put(KEY, make_record(KEY, MIDDLE))
    assert max(sizes) <= 100_000
    assert "Write" in script.asked
    got = store.get(KEY)
    assert got is not None
    assert got.body == MIDDLE


def test_a_head_that_no_message_holds_is_a_blob(script: Scripted, store: ReapiStore) -> None:
    """Tags and dependencies may be many."""
    record = make_record(KEY, b"content", tags=frozenset(f"tag {n}" * 20 for n in range(20_000)))
    assert len(record.head) > 2 << 20
    store.put(KEY, record)
    for got in (store.get(KEY), store.get_many([KEY])[KEY]):
        assert got is not None
        assert got.head == record.head


@pytest.mark.parametrize("rest", ["/inst/ance", ""])
def test_instances_and_digests_are_said(script: Scripted, rest: str) -> None:
    """The instance in each call and name; BLAKE3 where only that is known, or it is asked for."""
    script.offer = wire.CacheCapabilities(digest_functions=[wire.SHA1, wire.BLAKE3])
    names: list[str] = []

    def noted(requests: Any, context: Any) -> Any:
        parts = list(requests)
        names.append(parts[0].resource_name)
        return script.Write(iter(parts), context)

    script.answers["Write"] = noted
    for store in (script.open(rest), script.open(f"{rest}?digest=blake3")):
        store.put(KEY, make_record(KEY, LARGE))
        got = store.get(KEY)
        store.close()
        assert got is not None
        assert got.body == LARGE
    (name,) = names
    assert name.startswith("inst/ance/uploads/" if rest else "uploads/")
    assert "/blobs/blake3/" in name


def test_a_server_of_other_digests_is_refused(script: Scripted) -> None:
    """And so is an option that the server does not know."""
    script.offer = wire.CacheCapabilities(digest_functions=[wire.MD5])
    with pytest.raises(StoreError, match="MD5"):
        script.open().get(KEY)
    script.offer = wire.CacheCapabilities(digest_functions=[wire.SHA256])
    with pytest.raises(StoreError, match="blake3"):
        script.open("?digest=blake3").get(KEY)


# -- what comes back -----------------------------------------------------------------------


def sending(data: bytes) -> Answer:
    return lambda request, context: iter(
        [wire.ReadResponse(data=data[at : at + (1 << 20)]) for at in range(0, len(data), 1 << 20)]
    )


def refusing(code: int) -> Answer:
    return lambda request, context: wire.BatchUpdateBlobsResponse(
        responses=[
            wire.BatchUpdateBlobsResponse.Response(digest=each.digest, status=wire.Status(code=code))
            for each in request.requests
        ]
    )


def action(key: Key) -> str:
    return actions.action_of(key).hash


def kept(script: Scripted, store: ReapiStore, content: bytes) -> wire.ActionResult:
    store.put(KEY, make_record(KEY, content))
    return script.results[action(KEY)]


def test_a_server_that_moves_texts_is_read(script: Scripted, store: ReapiStore) -> None:
    """Head and body as digests in place of what was inline."""
    result = kept(script, store, b"small")
    for name in ("stdout", "stderr"):
        raw = getattr(result, f"{name}_raw")
        script.blobs[actions.sha256_hex(raw)] = raw
        digest = wire.Digest(hash=actions.sha256_hex(raw), size_bytes=len(raw))
        getattr(result, f"{name}_digest").CopyFrom(digest)
        setattr(result, f"{name}_raw", b"")
    for got in (store.get(KEY), store.get_many([KEY])[KEY]):
        assert got is not None
        assert got.body == b"small"
        assert got.head == make_record(KEY, b"small").head
    assert store.missing([KEY]) == set()
    del script.blobs[result.stderr_digest.hash]
    assert store.get(KEY) is None
    assert store.get_many([KEY]) == {}
    assert store.missing([KEY]) == {KEY}


@pytest.mark.parametrize("content", [MIDDLE, LARGE], ids=["middle", "large"])
def test_a_result_without_its_blob_is_a_miss(script: Scripted, store: ReapiStore, content: bytes) -> None:
    """The server forgot the blob."""
    kept(script, store, content)
    script.blobs.clear()
    assert store.get(KEY) is None
    assert store.get_many([KEY]) == {}
    assert store.missing([KEY]) == {KEY}


def test_results_of_others_are_misses(script: Scripted, store: ReapiStore) -> None:
    """A tool's own result, another key's, a moved head that is another's: counted as corrupt."""
    other = make_key("other")
    wrong = make_record(other).head
    script.blobs[actions.sha256_hex(wrong)] = wrong
    named = wire.Digest(hash=actions.sha256_hex(wrong), size_bytes=len(wrong))
    for result in (
        wire.ActionResult(stdout_raw=b"hello\n"),
        wire.ActionResult(stdout_raw=wrong),
        wire.ActionResult(stdout_digest=named),
        wire.ActionResult(stdout_digest=wire.Digest(hash="ab", size_bytes=1 << 50)),
        wire.ActionResult(
            stdout_raw=make_record(KEY).head,
            output_files=[wire.OutputFile(path="body", digest=wire.Digest(hash="ab" * 32, size_bytes=-1))],
        ),
    ):
        script.results[action(KEY)] = result
        before = store.counters().corrupt
        assert store.get(KEY) is None
        assert store.get_many([KEY]) == {}
        assert store.counters().corrupt == before + 2


def test_damaged_blobs_are_noticed_or_left_to_the_guard(script: Scripted, store: ReapiStore) -> None:
    """Another length is no answer, in a message and in a stream; a head with other bytes is a miss."""
    kept(script, store, MIDDLE)
    for name in script.blobs:
        script.blobs[name] = MIDDLE[:-1]
    assert store.get(KEY) is None
    kept(script, store, LARGE)
    for wrong in (LARGE[:-1], LARGE + b"x", LARGE * 3):
        script.answers["Read"] = sending(wrong)
        with pytest.raises(StoreUnavailable, match="bytes"):
            store.get(KEY)


def test_a_delete_is_a_result_without_a_record(script: Scripted, store: ReapiStore) -> None:
    """Read as absent by whoever asks; whatever else was there goes as well."""
    kept(script, store, b"x")
    assert store.delete(KEY) is True
    assert script.results[action(KEY)] == wire.ActionResult(exit_code=1)
    assert store.delete(KEY) is False
    assert store.missing([KEY]) == {KEY}
    script.results[action(KEY)] = wire.ActionResult(stdout_raw=b"hello\n")
    assert store.delete(KEY) is True


# -- faults --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "reading", "writing"),
    [
        (CODE.UNAVAILABLE, StoreUnavailable, StoreUnavailable),
        (CODE.DEADLINE_EXCEEDED, StoreUnavailable, StoreUnavailable),
        (CODE.INTERNAL, StoreUnavailable, StoreUnavailable),
        (CODE.UNKNOWN, StoreUnavailable, StoreUnavailable),
        (CODE.ABORTED, StoreUnavailable, StoreUnavailable),
        (CODE.RESOURCE_EXHAUSTED, StoreUnavailable, StoreFull),
        (CODE.UNAUTHENTICATED, StoreError, StoreError),
        (CODE.PERMISSION_DENIED, StoreError, StoreReadOnly),
        (CODE.UNIMPLEMENTED, StoreError, StoreError),
        (CODE.FAILED_PRECONDITION, StoreError, StoreError),
        (CODE.INVALID_ARGUMENT, StoreError, StoreError),
    ],
)
def test_each_status_has_its_meaning(
    script: Scripted, store: ReapiStore, code: grpc.StatusCode, reading: type, writing: type
) -> None:
    """Exactly one class each; whether trying again helps follows from it."""
    work: dict[str, tuple[type, Callable[[], object]]] = {
        "GetActionResult": (reading, lambda: store.get(KEY)),
        "UpdateActionResult": (writing, lambda: store.put(KEY, make_record(KEY))),
        "FindMissingBlobs": (reading, lambda: store.put(KEY, make_record(KEY, MIDDLE))),
        "BatchUpdateBlobs": (writing, lambda: store.put(KEY, make_record(KEY, MIDDLE))),
        "Write": (writing, lambda: store.put(KEY, make_record(KEY, LARGE))),
    }
    for name, (expected, act) in work.items():
        script.answers = {name: aborting(code)}
        with pytest.raises(StoreError) as caught:
            act()
        assert type(caught.value) is expected, name
        assert code.name in str(caught.value)
    script.answers = {"GetActionResult": aborting(code)}
    for many in (store.get_many, store.missing):
        with pytest.raises(reading):
            many([KEY, make_key("other")])


def test_a_refused_blob_of_a_batch_is_an_error(script: Scripted, store: ReapiStore) -> None:
    """No result is written that names it; a full server is full."""
    for code, expected in ((8, StoreFull), (3, StoreError)):
        script.answers["BatchUpdateBlobs"] = refusing(code)
        with pytest.raises(expected):
            store.put(KEY, make_record(KEY, MIDDLE))
    assert script.results == {}


def test_a_server_that_takes_part_of_a_blob(script: Scripted, store: ReapiStore) -> None:
    """What it did not commit is not there."""
    script.answers["Write"] = lambda requests, context: wire.WriteResponse(committed_size=5)
    with pytest.raises(StoreUnavailable, match="5 of"):
        store.put(KEY, make_record(KEY, LARGE))
    assert script.results == {}


def test_deadlines_are_kept(script: Scripted, store: ReapiStore) -> None:
    """Whoever hangs is waited for until the deadline of the operation, one or many."""
    store.put(KEY, make_record(KEY, LARGE))

    def hang(request: Any, context: Any) -> Any:
        script.gone.wait(NEVER_S)
        context.abort(CODE.UNAVAILABLE, "too late")

    def trickle(request: Any, context: Any) -> Any:
        yield wire.ReadResponse(data=b"x")
        script.gone.wait(NEVER_S)

    work: dict[str, tuple[Answer, Callable[[], object]]] = {
        "GetActionResult": (hang, lambda: store.get(KEY)),
        "Read": (trickle, lambda: store.get(KEY)),
        "UpdateActionResult": (hang, lambda: store.put(KEY, make_record(KEY))),
    }
    for name, (answer, act) in work.items():
        script.answers = {name: answer}
        with no_hang(), pytest.raises(StoreUnavailable), Within(0.3):
            act()
    script.answers = {"GetActionResult": hang}
    with pytest.raises(StoreUnavailable), Within(0.3):
        store.get_many([make_key(str(n)) for n in range(20)])


def test_a_large_answer_lengthens_the_deadline(script: Scripted, store: ReapiStore) -> None:
    """By what the caller grants for its length; one above the limit is not even fetched."""
    store.put(KEY, make_record(KEY, LARGE))

    def slow(request: Any, context: Any) -> Any:
        for at in range(0, len(LARGE), 1 << 20):
            script.gone.wait(0.3)
            yield wire.ReadResponse(data=LARGE[at : at + (1 << 20)])

    script.answers["Read"] = slow
    with Within(0.3, rate_bytes=len(LARGE) / 20):
        got = store.get(KEY)
    assert got is not None
    assert got.body == LARGE
    del script.asked[:]
    with pytest.raises(StoreError, match="limit"), Within(5, limit_bytes=1 << 20):
        store.get(KEY)
    assert "Read" not in script.asked


def test_nobody_there_is_unavailable() -> None:
    """At once, and in words that name the address; a server that comes later is found."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = parse_url(f"reapi://127.0.0.1:{port}")
    store = open_url(url, Options(url))
    with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"), Within(5):
        store.get(KEY)
    store.close()


def test_a_closed_store_is_closed_for_waiting_threads(script: Scripted, store: ReapiStore) -> None:
    """A call under way ends with the store."""
    store.get(KEY)
    begun = threading.Event()

    def hang(request: Any, context: Any) -> Any:
        begun.set()
        script.gone.wait(NEVER_S)
        context.abort(CODE.UNAVAILABLE, "too late")

    script.answers["GetActionResult"] = hang
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            store.get(KEY)
        except StoreError as error:
            caught.append(error)

    thread = threading.Thread(target=ask)
    thread.start()
    assert begun.wait(20)
    store.close()
    thread.join(20)
    assert [type(error) for error in caught] == [StoreClosed]


# -- addresses -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("reapi:", "reapi://host"),
        ("reapi://", "reapi://host"),
        ("reapi://h:x", "reapi://host"),
        ("reapi://h/blobs/x", "instance"),
        ("reapi://h/?digest=md5", "sha256, blake3"),
        ("reapi://h/?token=NO_SUCH_VARIABLE", "not set"),
        ("reapi://u:p@h/?token=HOME", "keep one"),
        ("reapi://h/?ca=/no/such/file", "No such file"),
        ("reapi://h/?ca={file}", "reapis"),
        ("reapis://h/?cert={file}", "go together"),
        ("reapi://h/?dead=1", "unknown option 'dead'"),
    ],
)
def test_addresses_that_mean_nothing(address: str, words: str, tmp_path: Path) -> None:
    """The message says what to write."""
    file = tmp_path / "file.pem"
    file.write_text("x")
    url = parse_url(address.replace("{file}", str(file)))
    with pytest.raises(ConfigError, match=words):
        open_url(url, Options(url))


@pytest.mark.parametrize(
    ("userinfo", "rest", "expected"),
    [
        ("", "", None),
        ("", "?token=OWN_TOKEN", "Bearer own"),
        ("me:se%20cret@", "", "Basic bWU6c2UgY3JldA=="),
        ("", "?user=me&password_env=OWN_TOKEN", "Basic bWU6b3du"),
        ("", "default", "Bearer usual"),
    ],
)
def test_who_asks_is_said_and_kept_secret(
    script: Scripted, monkeypatch: pytest.MonkeyPatch, userinfo: str, rest: str, expected: str | None
) -> None:
    """In the `authorization` of each call; never in the address nor in a message."""
    monkeypatch.setenv("OWN_TOKEN", "own")
    if rest == "default":
        monkeypatch.setenv("VCACHE_TOKEN", "usual")
        rest = ""
    url = parse_url(f"reapi://{userinfo}127.0.0.1:{script.port}/i{rest}")
    store = open_url(url, Options(url))
    assert store.get(KEY) is None
    assert {each.get("authorization") for each in script.metadata} == {expected}
    assert store.info.url == f"reapi://127.0.0.1:{script.port}/i"
    script.answers["GetActionResult"] = aborting(CODE.UNAUTHENTICATED)
    with pytest.raises(StoreError) as caught:
        store.get(KEY)
    assert "cret" not in str(caught.value)
    assert "own" not in str(caught.value).replace("OWN_TOKEN", "").replace("unknown", "")
    store.close()


def test_tls(tmp_path: Path) -> None:
    """`reapis`, with the authority's certificate; without it the server is not believed."""
    cert = tmp_path / "cert.pem"
    key = certified(cert)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    script = Scripted(credentials=credentials)
    try:
        url = parse_url(f"reapis://localhost:{script.port}?ca={cert}")
        store = open_url(url, Options(url))
        store.put(KEY, make_record(KEY))
        assert store.get(KEY) is not None
        store.close()
        url = parse_url(f"reapis://localhost:{script.port}")
        store = open_url(url, Options(url))
        with pytest.raises(StoreUnavailable), Within(5):
            store.get(KEY)
        store.close()
    finally:
        script.close()


def test_a_missing_package_is_named() -> None:
    """Without grpcio the address is an error that says what to install."""
    code = (
        "import sys; sys.modules['grpc'] = None\n"
        "from vcache.store.address import Options, parse_url\n"
        "from vcache.store.reapi import open_url\n"
        "url = parse_url('reapi://h')\n"
        "try: open_url(url, Options(url))\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.startswith("ConfigError")
    assert "pip install 'vcache[reapi]'" in out


# -- forks ---------------------------------------------------------------------------------

_FORKING = """
import os, sys, threading, time
from vcache.store.address import Options, parse_url
from vcache.store.reapi import open_url
from vcache.entry import make_key

url = parse_url(sys.argv[1])
store = open_url(url, Options(url))
key = make_key("k")
assert store.get(key) is not None
is_over = False

def ask():
    while not is_over:
        assert store.get(key) is not None

threads = [threading.Thread(target=ask) for _ in range(4)]
for thread in threads:
    thread.start()
for number in range(25):
    child = os.fork()
    if not child:
        try:
            found = store.get(key)
            os._exit(0 if found is not None else 3)
        except BaseException as error:
            print(repr(error), flush=True)
            os._exit(4)
    end_s = time.monotonic() + 20
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > end_s:
            os.kill(child, 9)
            os.waitpid(child, 0)
            status = "hangs"
            break
        time.sleep(0.002)
    assert status == 0, (number, status)
is_over = True
for thread in threads:
    thread.join()
store.close()
print("done")
"""


def test_children_forked_amid_calls_have_their_own(script: Scripted, store: ReapiStore) -> None:
    """Whatever the parent's threads were doing, a child's first call is answered; nothing is said."""
    store.put(KEY, make_record(KEY))
    address = f"reapi://127.0.0.1:{script.port}"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _FORKING, address],
        capture_output=True, text=True, timeout=120, check=False, env=environ,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_child_forked_within_a_call_keeps_away(script: Scripted, store: ReapiStore) -> None:
    """A fork waits a moment for calls to end; if they do not, no call is made in the child."""
    gate = Gate()
    with gate:
        gate.before()
        gate.in_child()
        assert gate.is_spoiled
    clean = Gate()
    with clean:
        pass
    clean.before()
    clean.in_child()
    assert not clean.is_spoiled
    assert clean.forks == 1


def test_settings_of_grpc_are_not_left_behind() -> None:
    """What it has to be told before it starts is not inherited by the commands that are started."""
    code = "import os, vcache.store.reapi.client; print([name for name in os.environ if 'GRPC' in name])"
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GRPC_")}
    out = subprocess.check_output([sys.executable, "-c", code], env=environ, text=True)
    assert out == "[]\n"
