"""What the S3 tier asks of a server, and makes of its answers. The server is a bucket in memory."""

from __future__ import annotations

import time
from email.utils import formatdate

import pytest

from tests.unit.store.s3.fake import FakeS3, error
from vcache.entry import Encoding, make_key
from vcache.errors import StoreClosed, StoreError, StoreFull, StoreUnavailable
from vcache.kit.data import replace
from vcache.store.address import Options, parse_url
from vcache.store.http.messages import Answer, ServerBusy
from vcache.store.objects import name_of, pack
from vcache.store.s3 import S3Store, bodies, listing, wire
from vcache.store.s3 import store as store_module
from vcache.store.s3.address import place_of
from vcache.testing.records import body_of, make_record, named

NOW_NS = 1_790_000_000 * 10**9
KEY, RECORD = named("key")
CONTENT = bytes(RECORD.body)
PATH = f"/bucket/p/{name_of(KEY)}"
TEMPERS = [412, 409, 501, 400, None]
"""What servers answer to `If-None-Match: *` where there is an object; None: it is ignored."""


@pytest.fixture
def fake(monkeypatch):
    fake = FakeS3()
    monkeypatch.setattr(wire, "HttpClient", fake)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AK")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hush-hush")
    return fake


@pytest.fixture
def small_parts(monkeypatch):
    """Objects are large from a few hundred bytes on."""
    monkeypatch.setattr(bodies, "FIRST_BYTES", 300)
    monkeypatch.setattr(bodies, "PART_BYTES", 1000)
    monkeypatch.setattr(store_module, "PART_BYTES", 1000)
    monkeypatch.setattr(store_module, "_LARGE_BYTES", 400)


def opened(text: str = "s3://bucket/p?endpoint=http://127.0.0.1:9&region=r") -> S3Store:
    url = parse_url(text)
    options = Options(url)
    place = place_of(url, options)
    options.finish()
    return S3Store(place, clock=lambda: NOW_NS)


@pytest.fixture
def store(fake):
    return opened()


# -- conditional writes ------------------------------------------------------------------------


@pytest.mark.parametrize("temper", TEMPERS)
@pytest.mark.parametrize("size_bytes", [0, 100, 500, 5000])
def test_the_latest_put_wins_whatever_the_server_does(fake, store, small_parts, temper, size_bytes):
    """Another content takes the place of what is there, however the server answers conditions."""
    fake.condition = temper
    for seed in range(3):
        record = make_record(KEY, body_of(size_bytes, seed=seed), expires_ns=seed)
        store.put(KEY, record)
        got = store.get(KEY)
        assert got.head == record.head
        assert got.body == record.body
    assert fake.uploads == {}
    if temper in (400, 501):
        assert store.takes_conditions is False
    elif temper is None:
        assert store.takes_conditions is None
    else:
        assert store.takes_conditions is not False


@pytest.mark.parametrize("temper", [412, 409])
def test_an_equal_record_is_not_kept_twice(fake, store, temper):
    """What differs in nothing but when it was made leaves the object that is there."""
    fake.condition = temper
    store.put(KEY, RECORD)
    before = fake.objects[PATH]
    store.put(KEY, make_record(KEY, CONTENT, created_ns=7, cost_ns=8))
    assert fake.objects[PATH] is before
    assert store.takes_conditions is True
    for change in ({"expires_ns": 9}, {"tags": frozenset("t")}, {"meta": {"a": "b"}}, {"is_error": True}):
        store.put(KEY, make_record(KEY, CONTENT, **change))
        assert replace(store.get(KEY).entry(), **change) == store.get(KEY).entry()


@pytest.mark.parametrize("temper", TEMPERS)
@pytest.mark.parametrize("size_bytes", [500, 2500])
def test_a_large_equal_record_is_not_sent_twice(fake, store, small_parts, temper, size_bytes):
    """Whatever the server makes of conditions: it is looked at first."""
    fake.condition = temper
    record = make_record(KEY, body_of(size_bytes))
    store.put(KEY, record)
    sent = fake.count("PUT"), fake.count("POST")
    store.put(KEY, make_record(KEY, body_of(size_bytes), created_ns=7))
    assert (fake.count("PUT"), fake.count("POST")) == sent
    assert fake.uploads == {}


@pytest.mark.parametrize("size_bytes", [100, 500, 2500])
def test_a_damaged_object_is_equal_to_none(fake, store, small_parts, size_bytes):
    """The server's own sum of what it keeps is compared: one flipped bit of the body is found and mended."""
    record = make_record(KEY, body_of(size_bytes))
    store.put(KEY, record)
    damaged = bytearray(fake.objects[PATH])
    damaged[-1] ^= 1
    fake.keep(PATH, bytes(damaged))
    store.put(KEY, record)
    assert fake.objects[PATH][-1] == damaged[-1] ^ 1


def test_a_refusal_of_conditions_is_remembered(fake, store):
    """A server that does not know them is asked once."""
    fake.condition = 501
    store.put_many(dict(named(f"k{number}") for number in range(3)))
    asked = fake.count("PUT")
    assert asked == 6
    store.put_many(dict(named(f"j{number}") for number in range(3)))
    assert fake.count("PUT") == asked + 3


def test_what_cannot_be_compared_is_sent(fake, store):
    """Ceph answers a range of an object that is being replaced with 500: then there is nothing equal."""
    store.put(KEY, RECORD)
    fake.answers = lambda method, _, headers: error(500, "UnknownError") if "range" in headers else None
    store.put(KEY, make_record(KEY, b"other"))
    fake.answers = lambda *_: None
    assert store.get(KEY).body == b"other"


# -- large bodies ------------------------------------------------------------------------------


@pytest.mark.parametrize("size_bytes", [0, 1, 150, 160, 170, 299, 300, 301, 846, 855, 999, 1000, 1001, 5000])
def test_every_size_comes_back(fake, store, small_parts, size_bytes):
    """At and beside the places where an object is cut."""
    record = make_record(KEY, body_of(size_bytes))
    store.put(KEY, record)
    for fake.knows_ranges in (True, False):
        got = store.get_many([KEY])[KEY]
        assert (got.head, got.body) == (record.head, record.body)
        assert memoryview(got.body).readonly
    assert fake.uploads == {}


@pytest.mark.parametrize(
    ("method", "word", "answer"),
    [
        ("PUT", "partNumber=2", error(500, "InternalError")),
        ("PUT", "partNumber=3", StoreUnavailable("gone")),
        ("POST", "uploadId=", error(503, "SlowDown")),
        ("POST", "uploadId=", Answer(200, [], b"<Error><Code>InternalError</Code></Error>")),
        ("POST", "uploadId=", StoreUnavailable("gone")),
    ],
)
def test_parts_of_a_failed_upload_are_removed(fake, store, small_parts, method, word, answer):
    """A part, or putting them together, fails: nothing is left, what was there stays, and it is said."""
    store.put(KEY, RECORD)

    def fail(asked: str, *_: object) -> Answer | StoreError | None:
        return answer if asked == method and word in fake.asked[-1][2] else None

    fake.answers = fail
    with pytest.raises(StoreUnavailable):
        store.put(KEY, make_record(KEY, body_of(5000)))
    fake.answers = lambda *_: None
    assert fake.uploads == {}
    assert store.get(KEY).body == RECORD.body


def test_an_object_that_changes_while_it_is_read_is_absent(fake, store, small_parts):
    """Parts of two versions are never put together."""
    store.put(KEY, make_record(KEY, body_of(5000)))

    def change(method: str, path: str, headers: dict[str, str]) -> None:
        if "if-match" in headers:
            fake.keep(path, b"other")

    fake.answers = change
    assert store.get(KEY) is None


def test_a_lying_range_is_a_fault(fake, store, small_parts):
    """More than was asked for, or a range of unknown size, is no answer."""
    store.put(KEY, make_record(KEY, body_of(5000)))
    for lines, size_bytes in (
        ([b"Content-Range: bytes 0-299/*"], 300),
        ([b"Content-Range: bytes 0-900/999"], 901),
    ):
        fake.answers = lambda method, path, headers, lines=lines, size=size_bytes: (
            Answer(206, lines, bytes(size)) if "range" in headers else None
        )
        with pytest.raises(StoreUnavailable, match="answered with"):
            store.get(KEY)


# -- what is read is looked at -----------------------------------------------------------------


def test_what_is_no_object_is_absent_and_counted(fake, store):
    """Foreign bytes, a cut head, another key's object: misses."""
    good = b"".join(bytes(part) for part in pack(RECORD))
    other = b"".join(bytes(part) for part in pack(named("other")[1]))
    wrong = [b"", b"hello", good[:100], good[:60] + b"\xff" + good[61:], other]
    for data in wrong:
        fake.keep(PATH, data)
        assert store.get(KEY) is None
    assert store.counters().corrupt == len(wrong)
    store.put(KEY, RECORD)
    assert store.get(KEY).body == RECORD.body


def test_a_scan_passes_over_what_is_not_its_own(fake, store):
    """Other names, other folders, and long names whose object is another key's or none."""
    long_key = make_key("x" * 500)
    huge = make_record(make_key("y" * 500), meta={"m": "x" * 40_000})
    store.put(long_key, make_record(long_key))
    store.put(KEY, RECORD)
    store.put(make_key("y" * 500), huge)
    for name in ("README", "ABCDEF", "0", "~" + "0" * 64, "sub/00aa", "~short"):
        fake.keep(f"/bucket/p/{name}", b"something")
    fake.keep("/bucket/p/~" + "1" * 64, b"".join(bytes(part) for part in pack(RECORD)))
    assert sorted(store.scan()) == sorted([KEY, long_key, make_key("y" * 500)])
    assert list(store.scan(b"\0sx")) == [long_key]
    assert list(store.scan(b"\0sk")) == [KEY]


@pytest.mark.parametrize("page", [1, 2, 7, 1000])
def test_a_listing_has_pages(fake, store, page):
    """All names, each once, however many come at a time."""
    fake.page = page
    keys = [make_key(f"k{number}") for number in range(20)]
    store.put_many({key: make_record(key) for key in keys})
    assert sorted(store.scan()) == sorted(keys)


@pytest.mark.parametrize("page", [1, 3, 50, 1000])
@pytest.mark.parametrize("others", [0, 500])
def test_many_absences_are_found_in_a_listing(fake, store, monkeypatch, page, others):
    """What pages do not reach within their price is asked for one by one; the answer is the same."""
    monkeypatch.setattr(store_module, "_LISTED", 10)
    monkeypatch.setattr(listing, "_PAGE_QUESTIONS", 10)
    fake.page = page
    there = [make_key(f"there {number}") for number in range(40)]
    absent = [make_key(f"absent {number}") for number in range(40)] + [make_key("z" * 300)]
    for number in range(others):
        fake.keep(f"/bucket/p/{name_of(make_key(f'other {number}'))}", b"")
    store.put_many({key: make_record(key) for key in there})
    assert store.missing([*there, *absent]) == set(absent)
    if page == 1000:
        assert fake.count("HEAD") == 0
    assert fake.count("GET") <= 8


def test_what_is_asked_for_is_not_what_lies_between(fake, store, monkeypatch):
    """The listing begins anew at the next name that is asked for."""
    monkeypatch.setattr(store_module, "_LISTED", 2)
    monkeypatch.setattr(listing, "_PAGE_QUESTIONS", 1)
    fake.page = 10
    for number in range(1000):
        fake.keep(f"/bucket/p/{name_of(make_key(f'm{number}'))}", b"")
    keys = [make_key("a"), make_key("z")]
    store.put(keys[1], make_record(keys[1]))
    assert store.missing(keys) == {keys[0]}
    assert fake.count("HEAD") == 0


# -- faults ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (error(404, "NoSuchBucket"), StoreError, "create it, or correct the address"),
        (error(403, "SignatureDoesNotMatch"), StoreError, "AWS_SECRET_ACCESS_KEY"),
        (error(403, "InvalidAccessKeyId"), StoreError, "AWS_ACCESS_KEY_ID"),
        (error(403, "AccessDenied"), StoreError, "s3:ListBucket"),
        (error(403), StoreError, "s3:ListBucket"),
        (error(403, "RequestTimeTooSkewed"), StoreError, "set the clock"),
        (error(403, "QuotaExceeded"), StoreFull, "QuotaExceeded"),
        (error(301, "PermanentRedirect", headers=["x-amz-bucket-region: eu-west-3"]), StoreError, "region=eu-west-3"),
        (error(400, "AuthorizationHeaderMalformed", more="<Region>eu-west-2</Region>"), StoreError, "region=eu-west-2"),
        (error(307, "TemporaryRedirect"), StoreError, "the bucket is elsewhere"),
        (error(503, "SlowDown", "Please reduce"), StoreUnavailable, "Please reduce"),
        (error(503), StoreUnavailable, "503"),
        (error(429), StoreUnavailable, "429"),
        (error(500, "InternalError"), StoreUnavailable, "InternalError"),
        (error(400, "RequestTimeout"), StoreUnavailable, "RequestTimeout"),
        (error(418, "Teapot", "short &amp; stout\x1b[0m"), StoreError, "short & stout"),
        (StoreUnavailable("gone"), StoreUnavailable, "gone"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("what", ["get", "put", "delete", "missing", "scan"])
def test_a_fault_says_what_it_is_and_what_to_do(fake, store, answer, kind, said, what):
    """Every operation raises the error that the answer stands for; one that may pass is retryable."""
    fake.answers = lambda *_: answer
    calls = {
        "get": lambda: store.get(KEY),
        "put": lambda: store.put(KEY, RECORD),
        "delete": lambda: store.delete(KEY),
        "missing": lambda: store.missing([KEY]),
        "scan": lambda: list(store.scan()),
    }
    with pytest.raises(kind) as caught:
        calls[what]()
    assert said in str(caught.value)
    assert caught.value.retryable == (kind is StoreUnavailable)
    assert "hush-hush" not in str(caught.value)
    assert str(caught.value).isprintable()


def test_a_server_may_say_when_to_come_back(fake, store):
    """The guard waits for so long."""
    fake.answers = lambda *_: error(503, "SlowDown", headers=["Retry-After: 7"])
    with pytest.raises(ServerBusy) as caught:
        store.get(KEY)
    assert caught.value.retry_after_s == 7


def test_an_absent_bucket_is_no_absent_object(fake, store):
    """A HEAD cannot tell: it is asked again, once."""
    fake.answers = lambda method, *_: error(404, "" if method == "HEAD" else "NoSuchBucket")
    for _ in range(2):
        with pytest.raises(StoreError, match="create it"):
            store.missing([KEY])
        with pytest.raises(StoreError, match="create it"):
            store.delete(KEY)


def test_a_wrong_clock_is_mended_by_the_servers(fake, store):
    """A request that was signed at the wrong time is signed anew with the time that the answer has."""
    theirs_s = NOW_NS // 10**9 + 3600
    date = formatdate(theirs_s, usegmt=True)

    def strict(_method: str, _path: str, headers: dict[str, str]) -> Answer | None:
        if headers["x-amz-date"] == wire_time(theirs_s):
            return None
        return error(403, "RequestTimeTooSkewed", headers=[f"Date: {date}"])

    fake.answers = strict
    store.put(KEY, RECORD)
    assert store.get(KEY).body == RECORD.body
    assert store.missing([KEY]) == set()


def test_a_head_that_is_refused_finds_out_why(fake, store):
    """A HEAD is answered without words: the bucket is asked what was wrong."""
    theirs_s = NOW_NS // 10**9 - 7200
    date = formatdate(theirs_s, usegmt=True)

    def strict(method: str, _path: str, headers: dict[str, str]) -> Answer | None:
        if headers["x-amz-date"] == wire_time(theirs_s):
            return None
        return error(403, "" if method == "HEAD" else "RequestTimeTooSkewed", headers=[f"Date: {date}"])

    fake.answers = strict
    assert store.missing([KEY]) == {KEY}


def test_rotated_credentials_are_taken_up(fake, store, monkeypatch):
    """A request that an old token signed is signed anew if there is a new one, and not if there is none."""

    def strict(_method: str, _path: str, headers: dict[str, str]) -> Answer | None:
        return None if headers.get("x-amz-security-token") == "new" else error(400, "ExpiredToken")

    fake.answers = strict
    with pytest.raises(StoreError, match="sign in again"):
        store.get(KEY)
    assert len(fake.asked) == 1
    monkeypatch.setenv("AWS_SESSION_TOKEN", "new")
    store.put_many(dict(named(f"k{number}") for number in range(3)))
    assert len(fake.asked) == 1 + 2 * 3
    assert store.get(named("k1")[0]) is not None


# -- what is sent ------------------------------------------------------------------------------


def test_objects_are_told_their_class_and_encryption(fake, small_parts):
    """Small ones when they are put, large ones when the upload begins; nobody else."""
    store = opened(
        "s3://bucket/p?endpoint=http://127.0.0.1:9&region=r&storage_class=STANDARD_IA&sse=aws:kms&sse_key=k"
    )
    wanted = {
        "x-amz-storage-class": "STANDARD_IA",
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "k",
    }
    store.put(KEY, RECORD)
    store.put(named("large")[0], make_record(named("large")[0], body_of(5000)))
    told = [
        (asked[0], asked[2].partition("=")[0])
        for asked, headers in zip(fake.asked, fake.headers, strict=True)
        if wanted.items() <= headers.items()
    ]
    assert told == [("PUT", ""), ("POST", "uploads")]
    store.get(KEY)
    assert not any(name.startswith(("x-amz-st", "x-amz-se")) for name in fake.headers[-1])


def test_nobody_signs_for_an_open_bucket(fake, monkeypatch):
    """With `anonymous=1` there is no word of who asks."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    store = opened("s3://bucket/p?endpoint=http://127.0.0.1:9&anonymous=1")
    assert store.get(KEY) is None
    assert fake.headers == [{}]


def test_a_prefix_is_sent_as_it_is_signed(fake):
    """Whatever stands in it."""
    store = opened("s3://bucket/caf%C3%A9/a+b c?endpoint=http://127.0.0.1:9")
    store.put(KEY, RECORD)
    assert list(fake.objects) == [f"/bucket/café/a+b c/{name_of(KEY)}"]


def test_it_says_what_it_is(store):
    """Another machine's word, listed, in time."""
    info = store.info
    assert (info.name, info.url) == ("s3", "s3://bucket/p?endpoint=http://127.0.0.1:9&region=r")
    assert info.is_shared
    assert info.is_persistent
    assert info.is_listed
    assert info.keeps_time
    assert not info.is_trusted
    assert not info.is_verified


def test_closing_ends_the_connections(fake, store):
    """And may be done again."""
    store.close()
    store.close()
    assert fake.is_closed
    for operation in (store.missing, store.get_many):
        with pytest.raises(StoreClosed):
            operation([KEY])


def test_packed_bodies_are_what_they_were(fake, store):
    """The encoding is the head's, the bytes are not looked at."""
    record = make_record(KEY, b"packed" * 100, encoding=Encoding.LZ4)
    store.put(KEY, record)
    assert store.get(KEY).body == record.body


def wire_time(now_s: int) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now_s))
