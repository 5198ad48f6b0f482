"""A server that lies to readers of sealed records: nothing it makes up is believed."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.servers import redis_server
from vcache.entry import Encoding, Entry, Key, Record, make_key
from vcache.hash import digest
from vcache.store.memory import MemoryStore
from vcache.store.sealed.crypto import Cipher, Signer, Verifier
from vcache.store.sealed.envelope import CODEC, NONCE_BYTES, Contents, Mark, Outside
from vcache.store.sealed.keys import private_text, write_secret
from vcache.store.sealed.parts import part
from vcache.store.sealed.sealer import HIDDEN, Identity, Sealer
from vcache.store.sealed.statement import Statement, namespace_of
from vcache.store.sealed.store import SealedStore
from vcache.store.sealed.trust import Policy, Producer, public_text
from vcache.store.url import open_store
from vcache.testing.records import make_record

NOW_NS = 1_800_000_000 * 10**9
DAY_NS = 86_400 * 10**9
KEY = make_key("wanted", namespace="release/1")
RECORD = make_record(KEY, b"the content of a result, as it was made")
SIGNERS = {
    name: Signer(bytes([number] * 32)) for number, name in enumerate(("ci", "dev", "left", "mallory"), 1)
}
ORDER = 2**252 + 27742317777372353535851937790883648493  # of Ed25519's group (RFC 8032, 5.1)


def trusted(name: str, namespaces: Sequence[str] = ("*",), **fields: object) -> Producer:
    return Producer(name, SIGNERS[name].public, tuple(namespaces), **fields)  # type: ignore[arg-type]


POLICY = Policy.of(
    [
        trusted("ci", ["release/*"], not_before_ns=NOW_NS - DAY_NS, not_after_ns=NOW_NS + DAY_NS),
        trusted("dev", ["dev"]),
        trusted("left", is_revoked=True),
    ]
)


class Site:
    """A store of sealed records as one user has it, and what its server keeps."""

    def __init__(
        self,
        *,
        signs: str | None = None,
        policy: Policy | None = POLICY,
        ciphers: Sequence[bytes] = (),
        is_aes: bool = False,
        now_ns: int = NOW_NS,
        inner: MemoryStore | None = None,
    ) -> None:
        self.inner = MemoryStore() if inner is None else inner
        self.sealer = Sealer(
            policy=None if policy is None else lambda: policy,
            identity=None if signs is None else Identity(signs, SIGNERS[signs]),
            ciphers=[Cipher(key * 32) for key in ciphers],
            verifier=Verifier,
            is_aes=is_aes,
            clock=lambda: now_ns,
        )
        self.store = SealedStore(self.inner, self.sealer)

    def plant(self, body: bytes, *, key: Key = KEY, **fields: object) -> None:
        """Have the server answer with an envelope."""
        name = self.sealer.names(key)[0]
        given: dict[str, object] = {"digest": digest(body), "size_bytes": len(body), "codec": CODEC} | fields
        head = Entry(key=name, **given).encode()  # type: ignore[arg-type]
        self.inner.put(name, Record(head, body))

    def kept(self, key: Key = KEY) -> bytes:
        """The envelope that the server has."""
        record = self.inner.get(self.sealer.names(key)[0])
        assert record is not None
        return bytes(record.body)

    def reason(self, key: Key = KEY) -> str:
        """Why a record is not used. Asked one by one and in a batch, it has to be the same."""
        assert self.store.get(key) is None
        assert self.store.get_many([key]) == {}
        (one, why), (other, again) = self.store.take_refusals()
        assert one == other == key
        assert why == again
        return why


@pytest.fixture
def site() -> Site:
    site = Site(signs="ci")
    site.store.put(KEY, RECORD)
    return site


def enveloped(
    record: Record, statement: bytes = b"", signature: bytes = b"", *, marks: Mark = Mark.SIGNED
) -> bytes:
    contents = Contents(statement, signature, record.head, record.body)
    return Outside(marks, b"").encode() + contents.start() + bytes(record.body)


def said(record: Record, *, by: str = "ci", at_ns: int = NOW_NS, **changed: object) -> Statement:
    entry = record.entry()
    statement = Statement(
        namespace_of(entry.key), entry.key, digest(record.head), entry.digest, digest(record.body), by, at_ns
    )
    return statement._replace(**changed)  # type: ignore[arg-type]


def vouched(record: Record, statement: Statement, *, by: str = "ci") -> bytes:
    """An envelope in which a key signs any statement."""
    data = statement.encode()
    return enveloped(record, data, SIGNERS[by].sign(data))


def opened(envelope: bytes) -> tuple[Outside, Contents]:
    outside, data = Outside.read(envelope)
    return outside, Contents.read(data, is_signed=Mark.SIGNED in outside.marks)


# -- what is believed ------------------------------------------------------------------------------


def test_a_signed_record_is_believed(site: Site) -> None:
    """What a trusted producer signed for its namespace is given to every reader of the policy."""
    reader = Site(inner=site.inner)
    record = reader.store.get(KEY)
    assert record is not None
    assert (record.head, bytes(record.body)) == (RECORD.head, RECORD.body)
    assert reader.store.take_refusals() == []
    assert reader.store.counters().corrupt == 0


def test_the_tests_envelopes_are_as_the_stores(site: Site) -> None:
    """What these tests forge is refused for what is wrong with it: with nothing wrong it is believed."""
    assert vouched(RECORD, said(RECORD)) == site.kept()
    site.plant(vouched(RECORD, said(RECORD)))
    assert site.store.get(KEY) is not None


# -- what is not -----------------------------------------------------------------------------------


def test_a_plain_record_is_not_used(site: Site) -> None:
    """Whoever knows the place but no key can put nothing there."""
    site.inner.put(KEY, RECORD)
    assert site.reason() == "unsigned"
    site.plant(enveloped(RECORD, marks=Mark(0)))
    assert site.reason() == "unsigned"


def test_wrong_bytes_of_the_same_length_are_not_used(site: Site) -> None:
    """A body other than the signed one is refused, before anything unpacks it."""
    size_bytes = len(bytes(RECORD.body))
    _, contents = opened(site.kept())
    site.plant(enveloped(Record(RECORD.head, b"x" * size_bytes), contents.statement, contents.signature))
    assert site.reason().startswith("wrong content")


def test_a_head_of_ones_own_is_not_used(site: Site) -> None:
    """The head is signed: neither an expiry nor a codec can be changed."""
    entry = RECORD.entry()
    _, contents = opened(site.kept())
    for changed in (
        {"expires_ns": 1}, {"is_error": True}, {"codec": "pickle"}, {"meta": {"a": "b"}}, {"created_ns": 1},
    ):  # fmt: skip
        fields = {
            name: getattr(entry, name) for name in ("key", "digest", "size_bytes", "codec", "created_ns")
        }
        head = Entry(**(fields | changed)).encode()
        site.plant(enveloped(Record(head, RECORD.body), contents.statement, contents.signature))
        assert site.reason().startswith("wrong content"), changed


@pytest.mark.parametrize(
    "other", [make_key("other", namespace="release/1"), make_key("wanted", namespace="dev")]
)
def test_another_keys_record_is_not_used(site: Site, other: Key) -> None:
    """A record that was signed for another key, or the same name in another namespace, cannot stand here."""
    writer = Site(signs="dev" if other.startswith(b"dev") else "ci", inner=site.inner)
    writer.store.put(other, make_record(other, b"the content of a result, as it was made"))
    site.plant(writer.kept(other))
    assert site.reason().startswith("wrong key")


def test_a_head_of_this_key_under_a_statement_of_another_is_not_used(site: Site) -> None:
    """The statement has to be of the key asked for, whatever the head says."""
    other = make_key("other", namespace="release/1")
    site.plant(vouched(RECORD, said(RECORD, key=other)))
    assert site.reason().startswith("wrong key")
    site.plant(vouched(RECORD, said(RECORD, namespace=b"release/2")))
    assert site.reason().startswith("wrong key")


@pytest.mark.parametrize("field", ["head", "content", "body"])
def test_a_statement_of_another_content_is_not_used(site: Site, field: str) -> None:
    """Each digest of a statement is compared with what is there."""
    site.plant(vouched(RECORD, said(RECORD, **{field: digest(b"other")})))  # type: ignore[arg-type]
    assert site.reason().startswith("wrong content")


def test_a_body_longer_than_its_head_says_is_not_used() -> None:
    """A plain body has the size of its head, even where nobody signs."""
    site = Site(policy=None)
    site.plant(enveloped(Record(RECORD.head, bytes(RECORD.body) * 1000), marks=Mark(0)))
    assert site.reason().startswith("wrong content")


def test_an_unknown_producer_is_not_used(site: Site) -> None:
    """A name that the policy does not have is nobody, however good its signature."""
    site.plant(vouched(RECORD, said(RECORD, by="mallory"), by="mallory"))
    assert site.reason() == "unknown producer: mallory"


def test_a_producers_name_cannot_be_borrowed(site: Site) -> None:
    """Who signs with another key than the name's is refused, in both directions."""
    site.plant(vouched(RECORD, said(RECORD, by="ci"), by="mallory"))
    assert site.reason().startswith("bad signature")
    statement = said(RECORD, by="dev").encode()
    site.plant(enveloped(RECORD, statement, SIGNERS["ci"].sign(statement)))
    assert site.reason().startswith("bad signature")


def test_a_producer_keeps_to_its_namespaces(site: Site) -> None:
    """A trusted key cannot write where the policy does not let it."""
    site.plant(vouched(RECORD, said(RECORD, by="dev"), by="dev"))
    assert site.reason() == "wrong namespace: dev"


def test_a_revoked_key_is_not_used(site: Site) -> None:
    """Whatever it signed, whenever it says it did."""
    for at_ns in (0, NOW_NS):
        site.plant(vouched(RECORD, said(RECORD, by="left", at_ns=at_ns), by="left"))
        assert site.reason() == "revoked key: left"


@pytest.mark.parametrize(
    ("at_ns", "reason"),
    [
        (NOW_NS - DAY_NS - 1, "key not yet valid: ci"),
        (NOW_NS - 2**62, "key not yet valid: ci"),
        (-(2**63), "key not yet valid: ci"),
        (NOW_NS + DAY_NS, "expired key: ci"),
        (2**63 - 1, "expired key: ci"),
        (NOW_NS + DAY_NS - 1, "signed in the future: ci"),
    ],
)
def test_a_key_is_used_in_its_time(site: Site, at_ns: int, reason: str) -> None:
    """Signed before, after, or at a time that has not come: refused."""
    site.plant(vouched(RECORD, said(RECORD, at_ns=at_ns)))
    assert site.reason() == reason


@pytest.mark.parametrize("at_ns", [NOW_NS - DAY_NS, NOW_NS, NOW_NS + 599 * 10**9])
def test_what_was_signed_in_time_stays_good(at_ns: int) -> None:
    """A key that expired meanwhile was good when it signed; clocks may differ by minutes."""
    site = Site()
    site.plant(vouched(RECORD, said(RECORD, at_ns=at_ns)))
    assert site.store.get(KEY) is not None
    if at_ns == NOW_NS:
        later = Site(inner=site.inner, now_ns=NOW_NS + 400 * DAY_NS)
        assert later.store.get(KEY) is not None


def test_a_signature_has_one_form(site: Site) -> None:
    """The order of the group added to a signature's number gives no second good one (RFC 8032, 5.1.7)."""
    _, contents = opened(site.kept())
    point, number = contents.signature[:32], int.from_bytes(contents.signature[32:], "little")
    for other in (number + ORDER, number + 2 * ORDER, (ORDER - number) % ORDER, 0, number | 1 << 255):
        if other < 1 << 256:
            forged = point + other.to_bytes(32, "little")
            site.plant(enveloped(RECORD, contents.statement, forged))
            assert site.reason().startswith("bad signature")
    for point in (bytes(32), b"\1" + bytes(31), b"\xff" * 32, (2**255 - 19).to_bytes(32, "little")):
        site.plant(enveloped(RECORD, contents.statement, point + contents.signature[32:]))
        assert site.reason().startswith("bad signature")


def test_a_statement_has_one_form(site: Site) -> None:
    """More bytes, other lengths and other names for the same parts are no statement, even when signed."""
    good = said(RECORD).encode()
    magic = len(b"vcache-statement") + 1
    for statement in (
        good + b"\0",
        good[:-1],
        good.replace(b"statement\x01", b"statement\x02"),
        good.replace(part(b"ci"), part(b"ci\0")),
        good.replace(part(b"ci"), part(b"")),
        good.replace(part(b"ci"), part("с".encode())),  # noqa: RUF001 - the Cyrillic letter is the point
        good[:magic] + struct.pack("<I", 2**32 - 1) + good[magic + 4 :],
        good.replace(part(digest(RECORD.head)), part(digest(RECORD.head)[:31])),
        b"",
    ):
        site.plant(enveloped(RECORD, statement, SIGNERS["ci"].sign(statement)))
        assert site.reason().startswith("damaged"), statement


def test_flags_that_cannot_be_are_refused(site: Site) -> None:
    """Unknown flags, a cipher without encryption, a signature that is not flagged, or flagged and not there."""
    good = site.kept()
    at = len(b"vcseal\x01")
    for flags in set(range(256)) - {Mark.SIGNED}:
        site.plant(good[:at] + bytes((flags,)) + good[at + 1 :])
        assert site.reason()
    site.plant(enveloped(RECORD, marks=Mark.SIGNED))
    assert site.reason().startswith("damaged")


def test_a_nonce_without_encryption_is_refused(site: Site) -> None:
    """An envelope has one form: nothing can be put beside what is signed."""
    good = site.kept()
    at = len(b"vcseal\x01") + 1
    for nonce in (b"x", bytes(NONCE_BYTES)):
        site.plant(good[:at] + part(nonce) + good[at + 4 :])
        assert site.reason().startswith("damaged")


def test_an_envelope_in_an_envelope_is_refused(site: Site) -> None:
    """What was opened is a result, not something to be opened again; nor is such a thing sealed."""
    inner = site.inner.get(KEY)
    assert inner is not None
    site.plant(vouched(inner, said(inner)))
    assert site.reason().startswith("damaged: an envelope in an envelope")
    with pytest.raises(ValueError, match="can be sealed"):
        site.store.put(KEY, inner)


def test_a_record_of_another_key_is_not_sealed(site: Site) -> None:
    """Nobody gets a signature for a key by a record of another one."""
    with pytest.raises(ValueError, match="can be sealed"):
        site.store.put(make_key("other", namespace="release/1"), RECORD)


def test_lengths_that_lie_cost_nothing(site: Site) -> None:
    """A part that claims gigabytes is refused by its number: nothing is allocated for it."""
    import tracemalloc

    good = site.kept()
    at = len(b"vcseal\x01") + 1 + 4
    tracemalloc.start()
    try:
        for claim in (2**32 - 1, 2**31, 16 << 20, len(good)):
            site.plant(good[:at] + struct.pack("<I", claim) + good[at + 4 :])
            assert site.reason().startswith("damaged")
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_a_bomb_is_not_unpacked(site: Site) -> None:
    """A packed body that nobody signed never reaches a decompressor; the envelope cannot be packed at all."""
    claimed = Entry(key=KEY, digest=digest(b"large"), size_bytes=1 << 40, encoding=Encoding.ZSTD)
    bomb = Record(claimed.encode(), b"\x28\xb5\x2f\xfd and so on")
    _, contents = opened(site.kept())
    site.plant(enveloped(bomb, contents.statement, contents.signature))
    assert site.reason().startswith("wrong content")
    site.plant(site.kept(), encoding=Encoding.ZSTD)
    assert site.reason() == "unsigned"


@pytest.mark.parametrize("kind", ["signed", "encrypted", "aes", "both"])
def test_every_cut_and_every_flipped_bit_is_found(kind: str) -> None:
    """Truncated at every byte and changed in every bit, an envelope is a miss with a reason."""
    ciphers = [] if kind == "signed" else [b"k"]
    site = Site(
        signs="ci" if kind in {"signed", "both"} else None,
        policy=POLICY if kind in {"signed", "both"} else None,
        ciphers=ciphers,
        is_aes=kind == "aes",
    )
    site.store.put(KEY, RECORD)
    good = site.kept()
    for size_bytes in range(len(good)):
        site.plant(good[:size_bytes])
        assert site.store.get(KEY) is None, f"cut to {size_bytes}"
    site.plant(good + b"\0")
    assert site.store.get(KEY) is None
    for bit in range(8 * len(good)):
        changed = bytearray(good)
        changed[bit // 8] ^= 1 << bit % 8
        site.plant(bytes(changed))
        assert site.store.get(KEY) is None, f"bit {bit}"
    assert site.store.counters().corrupt == 9 * len(good) + 1
    site.plant(good)
    assert site.store.get(KEY) is not None


# -- encryption ------------------------------------------------------------------------------------


def test_nothing_of_an_encrypted_record_can_be_read() -> None:
    """Neither key, namespace, producer, content nor digests are in what the server keeps."""
    site = Site(signs="ci", ciphers=[b"k"])
    site.store.put(KEY, RECORD)
    ((name, record),) = [(name, site.inner.get(name)) for name in site.inner.scan()]
    assert record is not None
    seen = name + record.head + bytes(record.body)
    for secret in (b"wanted", b"release", b"ci\0", b"content of", b"vcache-statement", RECORD.entry().digest):
        assert secret not in seen
    assert name.startswith(HIDDEN)


def test_equal_records_look_different_each_time() -> None:
    """Nonces are never used again: who watches cannot tell that the same was put twice."""
    site = Site(policy=None, ciphers=[b"k"])
    seen = set()
    for _ in range(1000):
        site.store.put(KEY, RECORD)
        outside, data = Outside.read(site.kept())
        seen.add(outside.nonce)
        seen.add(bytes(data[:16]))
    assert len(seen) == 2000


def test_processes_do_not_share_nonces() -> None:
    """Children of one process draw nonces of their own, though they begin with the same memory."""
    cipher = Cipher(b"k" * 32)
    cipher.new_nonce()
    seen = [_nonces_of_a_child(cipher) for _ in range(4)] + [{cipher.new_nonce() for _ in range(100)}]
    assert len(set.union(*seen)) == 500


def _nonces_of_a_child(cipher: Cipher) -> set[bytes]:
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(sending, b"".join(cipher.new_nonce() for _ in range(100)))
        os._exit(0)
    os.close(sending)
    with open(receiving, "rb") as stream:
        data = stream.read()
    os.waitpid(pid, 0)
    return {data[at : at + NONCE_BYTES] for at in range(0, len(data), NONCE_BYTES)}


@pytest.mark.parametrize("is_aes", [False, True])
def test_a_hidden_record_cannot_stand_for_another(is_aes: bool) -> None:
    """The server can exchange what lies under two names: both are refused."""
    site = Site(policy=None, ciphers=[b"k"], is_aes=is_aes)
    other = make_key("other")
    site.store.put(KEY, RECORD)
    site.store.put(other, make_record(other))
    one, two = site.kept(), site.kept(other)
    site.plant(two)
    site.plant(one, key=other)
    assert site.reason().startswith("wrong key")
    assert site.reason(other).startswith("wrong key")
    assert list(site.store.scan()) == []


def test_encryption_cannot_be_taken_away() -> None:
    """With a key to encrypt with, a plain record and a signed plain envelope are refused."""
    plain, site = Site(signs="ci"), Site(ciphers=[b"k"])
    plain.store.put(KEY, RECORD)
    site.plant(plain.kept())
    assert site.reason() == "not encrypted"
    site.plant(bytes(RECORD.body), codec="bytes")
    assert site.reason() == "not encrypted"
    unsigned = Site(policy=None)
    unsigned.plant(enveloped(RECORD, marks=Mark(0)))
    site.plant(unsigned.kept())
    assert site.reason() == "not encrypted"


def test_a_signature_cannot_be_taken_away_within_encryption() -> None:
    """Whoever has the key to encrypt with but none to sign with is refused by who asks for signatures."""
    guest = Site(policy=None, ciphers=[b"k"])
    guest.store.put(KEY, RECORD)
    site = Site(ciphers=[b"k"], inner=guest.inner)
    assert site.reason() == "unsigned"


def test_another_key_does_not_decrypt() -> None:
    """Without the key there is nothing; under another one's name neither."""
    site = Site(policy=None, ciphers=[b"k"])
    site.store.put(KEY, RECORD)
    stranger = Site(policy=None, ciphers=[b"x"], inner=site.inner)
    assert stranger.store.get(KEY) is None
    assert list(stranger.store.scan()) == []
    stranger.store.take_refusals()
    stranger.plant(site.kept())
    assert stranger.reason() == "not decryptable: encrypted with a key that is not given here"
    nobody = Site()
    nobody.plant(site.kept())
    assert nobody.reason().startswith("not decryptable")


def test_ciphers_cannot_be_exchanged() -> None:
    """The flag that names the cipher is bound to what is encrypted."""
    site = Site(policy=None, ciphers=[b"k"])
    site.store.put(KEY, RECORD)
    good = bytearray(site.kept())
    good[len(b"vcseal\x01")] ^= Mark.AES
    site.plant(bytes(good))
    assert site.reason() == "not decryptable: its bytes were changed"


def test_ciphers_share_no_key() -> None:
    """What one cipher gives away of its key says nothing of the other's, and nonces differ as well."""
    cipher = Cipher(b"k" * 32)
    drawn = [cipher._drawn(b"r" * 32, is_aes=is_aes) for is_aes in (False, True)]
    assert not set(zip(*[iter(drawn[0])] * 8, strict=False)) & set(zip(*[iter(drawn[1])] * 8, strict=False))


class Telling(MemoryStore):
    """A store that can say what it lacks."""

    def missing(self, keys: Sequence[Key]) -> set[Key]:
        return {key for key in keys if self.get(key) is None}


def test_what_an_older_key_encrypted_is_not_missing() -> None:
    """A push does not send again what is there under the name of an older key."""
    inner = Telling()
    Site(policy=None, ciphers=[b"o"], inner=inner).store.put(KEY, RECORD)
    site = Site(policy=None, ciphers=[b"n", b"o"], inner=inner)
    absent = make_key("absent")
    assert site.store.missing([KEY, absent]) == {absent}


def test_both_ciphers_are_read() -> None:
    """Which cipher writes is a choice of each writer."""
    writer = Site(policy=None, ciphers=[b"k"], is_aes=True)
    writer.store.put(KEY, RECORD)
    assert Site(policy=None, ciphers=[b"k"], inner=writer.inner).store.get(KEY) is not None


def test_keys_can_be_changed() -> None:
    """What an older key encrypted is found, listed once, replaced under the newer one, and deleted."""
    old = Site(policy=None, ciphers=[b"o"])
    site = Site(policy=None, ciphers=[b"n", b"o"], inner=old.inner)
    only_new = Site(policy=None, ciphers=[b"n"], inner=old.inner)
    old.store.put(KEY, RECORD)
    assert site.store.get(KEY) is not None
    assert site.store.missing([KEY]) == set()
    assert set(site.store.get_many([KEY])) == {KEY}
    assert list(site.store.scan(b"release")) == [KEY]
    site.store.put(KEY, make_record(KEY, b"newer"))
    assert list(site.store.scan()) == [KEY]
    found = site.store.get(KEY)
    assert found is not None
    assert found.body == b"newer"
    assert only_new.store.get(KEY) is not None
    assert site.store.delete(KEY)
    assert site.store.get(KEY) is None
    assert not site.store.delete(KEY)


# -- what is made of it ----------------------------------------------------------------------------


def test_refusals_are_kept_and_taken(site: Site) -> None:
    """Each refusal is counted and told once; the list is bounded, the count is not."""
    site.plant(b"")
    for _ in range(1500):
        assert site.store.get(KEY) is None
    assert site.store.counters().corrupt == 1500
    taken = site.store.take_refusals()
    assert len(taken) == 1000
    assert site.store.take_refusals() == []


def test_the_guard_writes_refusals_down(tmp_path: Path) -> None:
    """Through the address of a tier: a miss, the reason in its report, and not a fault of the remote."""
    public = public_text(SIGNERS["ci"].public)
    (tmp_path / "policy.toml").write_text(f'[keys.ci]\npublic = "{public}"\nnamespaces = ["*"]\n')
    write_secret(str(tmp_path / "ci.key"), private_text("ci", bytes([1]) * 32))
    with redis_server(tmp_path / "server") as server:
        address = f"redis+unix://{server.socket}?state={tmp_path / 'state'}&write=through"
        stores = {
            query: open_store(address + query)
            for query in ("", f"&sign={tmp_path / 'ci.key'}", f"&trust={tmp_path / 'policy.toml'}")
        }
        mallory, ci, reader = stores.values()
        try:
            mallory.put(KEY, RECORD)
            assert reader.get(KEY) is None
            other = make_key("other")
            ci.put(other, make_record(other))
            assert reader.get(other) is not None
        finally:
            for store in stores.values():
                store.close()
    (report,) = (tmp_path / "state").glob("*/report.jsonl")
    assert [json.loads(line)["why"] for line in report.read_text().splitlines()] == ["unsigned"]


def test_what_was_refused_counts_as_missing_until_it_is_replaced(site: Site) -> None:
    """A push replaces what nobody can use."""
    assert site.store.missing([KEY]) == set()
    site.plant(b"junk")
    site.reason()
    assert site.store.missing([KEY]) == {KEY}
    site.store.put_many({KEY: RECORD})
    assert site.store.missing([KEY]) == set()


def test_a_bad_one_hides_no_good_ones(site: Site) -> None:
    """In a batch, what is refused is left out and the rest is there."""
    keys = [make_key(str(number), namespace="release/1") for number in range(9)]
    site.store.put_many({key: make_record(key, key) for key in keys})
    site.plant(b"junk", key=keys[4])
    assert set(site.store.get_many(keys)) == set(keys) - {keys[4]}


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=600), flags=st.integers(0, 255), is_encrypted=st.booleans())
def test_no_bytes_are_believed(body: bytes, flags: int, is_encrypted: bool) -> None:
    """Whatever a server answers, there is a miss and no error."""
    site = Site(ciphers=[b"k"] if is_encrypted else [])
    for envelope in (body, b"vcseal\x01" + body, b"vcseal\x01" + bytes((flags,)) + body):
        site.plant(envelope)
        assert site.store.get(KEY) is None


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_rearrangement_is_believed(data: st.DataObject) -> None:
    """Pieces of good envelopes, put together in any way, give the one record or none."""
    site = Site(signs="ci")
    other = make_key("other", namespace="release/1")
    site.store.put(KEY, RECORD)
    site.store.put(other, make_record(other, b"the other result, made elsewhere"))
    pools = [opened(site.kept())[1], opened(site.kept(other))[1]]
    chosen = [data.draw(st.sampled_from(pools), label=field) for field in Contents._fields]
    parts = [getattr(contents, field) for contents, field in zip(chosen, Contents._fields, strict=True)]
    contents = Contents(*parts)
    site.plant(Outside(Mark.SIGNED, b"").encode() + contents.start() + bytes(contents.body))
    record = site.store.get(KEY)
    assert (record is not None) == (chosen == [pools[0]] * 4)
    if record is not None:
        assert record.head == RECORD.head
