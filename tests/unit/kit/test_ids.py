from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import uuid
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.errors import UsageError
from vcache.kit.ids import (
    SNOWFLAKE_EPOCH_MS,
    Snowflake,
    UuidGenerator,
    inspect_snowflake,
    inspect_uuid,
    machine_id,
    share_of,
    uuid7,
)
from vcache.testing.clock import FakeClock


def test_a_uuid7_is_of_version_7_and_carries_its_time() -> None:
    """a UUIDv7 has the version and variant of RFC 9562, and gives its millisecond back"""
    clock = FakeClock()
    made = UuidGenerator(clock=clock)()
    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert inspect_uuid(made).created_ns == clock()


def test_the_text_of_a_uuid_needs_no_uuid() -> None:
    """`text` is what the UUID drawn in its place is written as"""
    one, other = (UuidGenerator(clock=FakeClock(), random_bits=lambda count: 5) for _ in range(2))
    assert one.text() == str(other())


@given(st.lists(st.tuples(st.integers(-5, 5), st.integers(0, 40)), max_size=30))
def test_many_uuids_are_drawn_at_once(draws: list[tuple[int, int]]) -> None:
    """`texts` gives as many as it is asked for, each above all before it, among those of `text`"""
    clock = FakeClock()
    generate = UuidGenerator(clock=clock)
    made = []
    for jump_ms, count in draws:
        clock.jump_to(clock() + jump_ms * 1_000_000)
        drawn = generate.texts(count)
        assert len(drawn) == count
        made += [*drawn, generate.text()]
    assert made == sorted(set(made))
    for text in made:
        parsed = uuid.UUID(text)
        assert (str(parsed), parsed.version, parsed.variant) == (text, 7, uuid.RFC_4122)


def test_many_uuids_are_those_of_one_by_one() -> None:
    """of equal time and randomness"""
    one, other = (UuidGenerator(clock=FakeClock(), random_bits=lambda count: 0) for _ in range(2))
    assert one.texts(3) == [f"018cc251-f400-7000-8000-{number:012x}" for number in (1, 2, 3)]
    assert other.text() == "018cc251-f400-7000-8000-000000000000"
    assert other.texts(2) == [f"018cc251-f400-7000-8000-{number:012x}" for number in (1, 2)]


def test_many_uuids_go_past_the_end_of_a_millisecond() -> None:
    """what does not fit in it takes from the next ones"""
    generate = UuidGenerator(clock=FakeClock(), random_bits=lambda count: (1 << count) - 1)
    generate._ms, generate._tail = FakeClock()() // 1_000_000, (1 << 74) - (5 << 32)
    drawn = generate.texts(20)
    assert drawn == sorted(set(drawn))
    assert len({text[:13] for text in drawn}) > 1


def test_the_layout_is_that_of_the_rfc() -> None:
    """the example of RFC 9562, appendix A.6, is made from its own parts"""
    rand = (0xCC3 << 62 | 0x18C4DC0C0C07398F) << 33  # behind it are the bits of a step, which is not taken
    made = UuidGenerator(
        clock=lambda: 0x017F22E279B0 * 1_000_000, random_bits=lambda count: rand & (1 << 107) - 1
    )()
    assert str(made) == "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=200))
def test_uuids_rise_whatever_the_clock_does(jumps_ms: list[int]) -> None:
    """each UUIDv7 is above the one before, also when the clock stands or goes back"""
    clock = FakeClock()
    generate = UuidGenerator(clock=clock)
    made = []
    for jump in jumps_ms:
        made.append(generate())
        clock.jump_to(clock() + jump * 1_000_000)
    assert made == sorted(set(made))


def test_uuids_rise_past_the_end_of_a_millisecond() -> None:
    """when a millisecond's numbers are used up, the next one is borrowed"""
    generate = UuidGenerator(clock=FakeClock(), random_bits=lambda count: (1 << count) - 1)
    generate._tail = (1 << 74) - 2
    generate._ms = FakeClock()() // 1_000_000
    made = [generate() for _ in range(3)]
    assert made == sorted(set(made))
    assert {each.version for each in made} == {7}


def test_threads_draw_different_uuids() -> None:
    """8 threads never draw the same UUID"""
    drawn: list[list[uuid.UUID]] = [[] for _ in range(8)]
    threads = [
        threading.Thread(target=lambda row=row: row.extend(uuid7() for _ in range(500))) for row in drawn
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(Counter(each for row in drawn for each in row).values()) == 1
    assert all(row == sorted(row) for row in drawn)


def test_a_forked_child_draws_its_own() -> None:
    """parent and child never draw the same UUID after a fork"""
    code = """
import os
from vcache.kit.ids import uuid7
uuid7()
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, b" ".join(str(uuid7()).encode() for _ in range(100)))
    os._exit(0)
mine = {str(uuid7()) for _ in range(100)}
os.close(write)
theirs = set(os.fdopen(read).read().split())
os.wait()
assert len(theirs) == 100 and not mine & theirs
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_snowflake_tells_what_it_was_made_of() -> None:
    """a Snowflake gives its millisecond, worker and sequence back"""
    clock = FakeClock()
    clock.advance("3d")
    draw = Snowflake(77, clock=clock)
    assert inspect_snowflake(draw()).sequence == 0
    second = inspect_snowflake(draw())
    assert (second.created_ns, second.worker, second.sequence) == (clock(), 77, 1)


def test_snowflakes_rise_without_waiting() -> None:
    """10,000 in one millisecond, and after the clock went back, still rise"""
    clock = FakeClock()
    draw = Snowflake(1023, clock=clock)
    drawn = [draw() for _ in range(10_000)]
    clock.jump_to(clock() - 5_000_000)
    drawn += [draw() for _ in range(10)]
    assert drawn == sorted(set(drawn))
    assert {inspect_snowflake(each).worker for each in drawn} == {1023}


@pytest.mark.parametrize("worker", [-1, 1024])
def test_a_worker_that_does_not_fit_is_refused(worker: int) -> None:
    """a worker outside 10 bits raises and shows itself"""
    with pytest.raises(UsageError, match=str(worker)):
        Snowflake(worker)


def test_a_clock_out_of_range_is_refused() -> None:
    """a clock before 2024 or after 2093 raises instead of giving a wrong id"""
    with pytest.raises(UsageError, match="2024"):
        Snowflake(0, clock=lambda: (SNOWFLAKE_EPOCH_MS - 1) * 1_000_000)()
    with pytest.raises(UsageError, match="2093"):
        Snowflake(0, clock=lambda: (SNOWFLAKE_EPOCH_MS + (1 << 41)) * 1_000_000)()


@pytest.mark.parametrize("number", [-1, 1 << 63])
def test_what_is_no_snowflake_is_refused(number: int) -> None:
    """a number that does not fit raises and shows itself"""
    with pytest.raises(UsageError, match=str(number)):
        inspect_snowflake(number)


def test_uuids_of_other_versions_are_inspected() -> None:
    """versions 1 and 6 tell their time, version 4 has none"""
    # RFC 9562, appendix A.1 and A.5: both of 2022-02-22T19:22:22Z
    expected_ns = 1_645_557_742_000_000_000
    assert inspect_uuid("C232AB00-9414-11EC-B3C8-9F6BDECED846").created_ns == expected_ns
    assert inspect_uuid("1EC9414C-232A-6B00-B3C8-9F6BDECED846").created_ns == expected_ns
    found = inspect_uuid(uuid.uuid4())
    assert (found.version, found.created_ns) == (4, None)


@pytest.mark.parametrize("value", ["", "xyz", "0" * 31, 5, None])
def test_what_is_no_uuid_is_refused(value: object) -> None:
    """a value that is no UUID raises and shows itself"""
    with pytest.raises(UsageError, match=re.escape(repr(value))):
        inspect_uuid(value)  # type: ignore[arg-type]


def test_a_machine_has_one_name_that_hides_its_id() -> None:
    """every process of a machine gets the same name, which is not the machine's secret id"""
    code = "from vcache.kit.ids import machine_id; print(machine_id())"
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == machine_id()
    assert re.fullmatch("[0-9a-f]{32}", machine_id())
    if os.path.exists("/etc/machine-id"):
        with open("/etc/machine-id", encoding="ascii") as file:
            assert file.read().strip() != machine_id()


def test_shares_are_even_and_split_words() -> None:
    """shares are spread evenly, and where words are split counts"""
    shares = [share_of("flag", str(number)) for number in range(4000)]
    assert all(0 <= share < 1 for share in shares)
    assert sum(share < 0.25 for share in shares) == pytest.approx(1000, abs=120)
    assert share_of("ab", "c") != share_of("a", "bc")
