"""The queue's clock in a Redis server."""

from __future__ import annotations

import pytest

from vcache.jobs.redis.clock import ServerClock

HOUR_US = 3_600_000_000


class Server:
    """A server's time, the offset that is kept there, and a client's monotonic clock."""

    def __init__(self) -> None:
        self.time_us = 1_700_000_000_000_000
        self.offset_us = self.epoch = self.moves = 0
        self.monotonic_s = 50.0

    def now_us(self) -> int:
        return self.time_us + self.offset_us

    def pass_s(self, seconds: float) -> None:
        self.monotonic_s += seconds
        self.time_us += round(seconds * 1e6)

    def move(self, epoch: bytes, by_us: int) -> tuple[int, bytes]:
        if epoch == b"%d" % self.epoch:
            self.offset_us += by_us
            self.epoch += 1
            self.moves += 1
        return self.now_us(), b"%d" % self.epoch

    def clock(self) -> ServerClock:
        return ServerClock(self.move, monotonic=lambda: self.monotonic_s)

    def tell(self, clock: ServerClock) -> None:
        expected = clock.expected()
        clock.hear(self.now_us(), b"%d" % self.epoch, expected)


@pytest.mark.parametrize("jump_us", [HOUR_US, -HOUR_US, 6_000_000])
def test_a_jump_of_the_servers_clock_is_taken_back(jump_us):
    """When `TIME` jumps by an hour, the queue's clock goes on as if it had not."""
    server = Server()
    clock = server.clock()
    server.tell(clock)
    server.pass_s(10)
    before_us = server.now_us()
    server.time_us += jump_us
    server.tell(clock)
    assert server.now_us() == before_us
    assert clock.now_us() == before_us
    server.pass_s(3)
    server.tell(clock)
    assert server.moves == 1
    assert clock.now_us() == before_us + 3_000_000


def test_of_many_who_see_a_jump_one_takes_it_back():
    """Each change has a number: who comes later finds it made."""
    server = Server()
    clocks = [server.clock() for _ in range(5)]
    for clock in clocks:
        server.tell(clock)
    before_us = server.now_us()
    server.time_us -= HOUR_US
    seen_us, epoch = server.now_us(), b"%d" % server.epoch
    for clock in clocks:  # each heard of it before the first had moved it
        clock.hear(seen_us, epoch, clock.expected())
    assert server.moves == 1
    assert [clock.now_us() for clock in clocks] == [before_us] * 5


@pytest.mark.parametrize("asked_late", [False, True])
def test_a_slow_answer_is_no_jump(asked_late):
    """However long who asks was held up, before it was answered or after; nor is a server that runs a little fast."""
    server = Server()
    clock = server.clock()
    server.tell(clock)
    for _ in range(100):
        server.pass_s(60)
        server.time_us += 1_000
        expected = clock.expected()
        if asked_late:
            server.pass_s(100)
        heard_us = server.now_us()
        if not asked_late:
            server.pass_s(100)
        clock.hear(heard_us, b"0", expected)
        server.tell(clock)
    assert server.moves == 0


def test_it_goes_on_between_answers():
    """Nobody is asked for the time; before the first answer it is not known."""
    server = Server()
    clock = server.clock()
    assert clock.now_us() is None
    server.tell(clock)
    server.pass_s(7)
    assert clock.now_us() == server.now_us()
