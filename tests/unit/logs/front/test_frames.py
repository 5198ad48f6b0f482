"""Frames: what is read was written, there and nowhere else."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from vcache.errors import DecodeError
from vcache.logs.front.frames import FRAME_BYTES, decode, encode, frame, opening, run_at, salvage
from vcache.logs.front.ring import Ring
from vcache.logs.record import Record
from vcache.serialize.plain import pack_plain

TEXTS = st.text(st.characters(), max_size=40)
VALUES = TEXTS | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.booleans()
RECORDS = st.tuples(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(0, 24),
    TEXTS,
    TEXTS,
    st.dictionaries(TEXTS, VALUES, max_size=5),
    st.integers(0, 255),
    st.integers(1, 2**32),
).map(lambda said: Record(*said))


def frame_at(ring: memoryview, at: int) -> bytes | None:
    return next(run_at(ring, at, at + len(ring)), None)


@given(RECORDS)
def test_a_record_comes_back(record):
    """What is encoded is decoded, text that is no UTF-8 as well."""
    assert decode(encode(record)) == record


@given(st.binary(max_size=60))
def test_any_bytes(data):
    """They are a record or a DecodeError."""
    try:
        assert isinstance(decode(data), Record)
    except DecodeError:
        pass


def test_nearly_a_record():
    """Parts of another kind are an error or text, never a record that is none."""
    oddities: list[object] = [
        [],
        [1, 2, 3],
        [[9, "s", {}], None, ["no time", "m", {}]],
        [[9, 5, {}], None, [1, "m", {}]],
        {},
    ]
    for said in oddities:
        try:
            decode(pack_plain(said))
        except DecodeError:
            continue
        raise AssertionError(said)
    assert decode(opening(9, "s", {"a": 1}) + b"\xc0" + pack_plain([1, 7, {"b": 2}])).message == "7"


@settings(max_examples=30)
@given(st.lists(st.binary(min_size=1, max_size=900), min_size=1, max_size=60), st.integers(0, 7))
def test_a_ring_that_goes_round(payloads, start):
    """Frames are found one behind the other through any number of laps, and what was released is not found again."""
    ring = Ring(None, size_bytes=4096)
    ring.cursor.at = at = start
    ring.release(start)
    for payload in payloads:
        assert ring.put(payload)
        assert frame_at(ring.data, at) == payload
        before, at = at, at + FRAME_BYTES + len(payload)
        ring.release(at)
        assert frame_at(ring.data, at) is None
        assert frame_at(ring.data, before + 4096) is None  # the same bytes, a lap later
    assert ring.cursor.at == at


@settings(max_examples=60)
@given(st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=12), st.data())
def test_flipped_bytes(payloads, data):
    """Whatever bit is flipped, the other frames are salvaged, and nothing that was not written."""
    ring = Ring(None, size_bytes=4096)
    written = {}
    for payload in payloads:
        written[ring.cursor.at] = payload
        assert ring.put(payload)
    end = ring.cursor.at
    assert dict(salvage(ring.data, 0, 4096)) == written
    for _ in range(10):
        place, bit = data.draw(st.integers(0, end - 1)), data.draw(st.integers(0, 7))
        ring.data[place] ^= 1 << bit
        found = dict(salvage(ring.data, 0, 4096))
        hurt = max(at for at in written if at <= place)
        assert found == {at: each for at, each in written.items() if at != hurt}
        assert frame_at(ring.data, hurt) is None
        ring.data[place] ^= 1 << bit


@given(st.binary(min_size=1, max_size=50), st.integers(0, 2**40), st.integers(0, 2**40))
def test_a_frame_is_of_its_position(payload, at, other):
    """The same bytes at another position are no frame."""
    size = 1 << 12
    ring = bytearray(size)
    for number, each in enumerate(frame(payload, at)):
        ring[(other + number) % size] = each
    assert (frame_at(memoryview(ring), other) == payload) is (at == other)


def test_no_room():
    """A ring takes what there is room for, and nothing in part."""
    ring = Ring(None, size_bytes=4096)
    assert ring.put(b"x" * 4000)
    assert not ring.put(b"x" * 100)
    ring.release(10)
    assert not ring.put(b"x" * 100)
    ring.release(4016)
    assert ring.put(b"x" * 100)
    assert frame_at(ring.data, 4016) == b"x" * 100
