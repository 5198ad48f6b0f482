"""The queue: its calls as scripts, and their answers as jobs. It must not know how bytes travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, NoReturn, Self, cast

from vcache.errors import FormatError, SessionLost, StoreClosed, UsageError
from vcache.jobs.base import (
    MOST_CLAIMED,
    Cell,
    Claimed,
    Exchanged,
    Finished,
    Page,
    QueueInfo,
    QueueStats,
    Session,
)
from vcache.jobs.models import Job, Limits, Progress, Spec
from vcache.jobs.packing import pack_progress
from vcache.jobs.redis import answers, requests
from vcache.jobs.redis.clock import ServerClock
from vcache.jobs.redis.scripts import Scripts
from vcache.jobs.states import ENDED, State
from vcache.kit.ids import uuid7
from vcache.serialize.plain import pack_plain
from vcache.store.address import Options, parse_url
from vcache.store.redis.opening import server_of

if TYPE_CHECKING:
    from vcache.store.redis.wire import Client

__all__ = ["RedisQueue"]

_KEEP: Final = 10_000
_FORMAT: Final = b"vcache jobs 1"
_PAGE: Final = 1_000
_MOST_ASKED: Final = 500  # jobs by one script: it holds up everybody else


class _Closed:
    """What a closed queue has in place of who talks to the server."""

    def __getattr__(self, name: str) -> NoReturn:
        raise StoreClosed("the queue is closed")


_CLOSED: Final = _Closed()


class RedisQueue:
    """A queue in a server of Redis 6.2 or later, or of what speaks like it and has Lua with cmsgpack.

    Args:
        client: talks to the server.
        shown: its address, without secrets.
        prefix: begins all its keys; keeps queues in one database apart.
        namespace: whose jobs it holds.
        keep_ended: how many completed jobs it remembers, and how many cancelled ones.

    Threads: all operations.
    """

    def __init__(
        self, client: Client, *, shown: str = "redis:", prefix: str = "vcache:", namespace: str = "",
        keep_ended: int = _KEEP,
    ) -> None:  # fmt: skip
        self._client = client
        self._shown = shown
        # In braces: a cluster keeps all of one queue on one server.
        self._prefix = f"{{{prefix}jobs:{namespace}}}".encode()
        self._namespace = namespace
        self._keep = b"%d" % keep_ended
        self._scripts = Scripts(client, self._prefix)
        self._clock = ServerClock(self._move_clock)
        self._is_checked = False
        self._workers: dict[str, bytes] = {}  # names by session, of those opened here

    @classmethod
    def at(cls, address: str, *, namespace: str = "", keep_ended: int = _KEEP) -> RedisQueue:
        """The queue at an address: `redis://[[user]:password@]host[:port][/db]`, `rediss://…`,
        `redis+unix:///path`; options `prefix`, `db`, `password_env`, `ca`. Nothing is sent before the first call.

        Raises:
            ConfigError: the address or an option makes no sense, or the extra is not installed.
        """
        url = parse_url(address)
        shown, prefix, make = server_of(url, Options(url))
        return cls(
            make(), shown=shown, prefix=prefix or "vcache:", namespace=namespace, keep_ended=keep_ended
        )

    @property
    def info(self) -> QueueInfo:
        # Whether it outlives a power loss is a matter of the server's settings: `vcache doctor` looks.
        return QueueInfo(self._shown, self._namespace, is_durable=True, is_shared=True)

    def now_ns(self) -> int:
        now_us = self._clock.now_us()
        if now_us is None:
            now_us = self._move_clock(b"", 0)[0]
        return now_us * 1000

    # Who asks

    def submit(self, specs: Sequence[Spec]) -> Sequence[str]:
        if not specs:
            return []
        self._check()
        if len(specs) == 1 and (alone := requests.single(specs[0])) is not None:
            self._scripts.call("single", alone)
            return [specs[0].id]
        arguments, special = requests.submission(specs)
        stands = self._scripts.call("submit" if special else "groups", arguments)
        return answers.stood_for(stands or (), specs, special)

    def get(self, ids: Sequence[str]) -> Sequence[Job | None]:
        jobs: list[Job | None] = []
        for at in range(0, len(ids), _MOST_ASKED):
            found = self._scripts.call("get", [each.encode() for each in ids[at : at + _MOST_ASKED]])
            jobs += [answers.job_of(each) for each in found]
        return jobs

    def list(self, state: State, *, kind: str = "", cursor: str = "", limit: int = 100) -> Page:
        if limit < 1:
            raise UsageError(f"a list of at most {limit!r} jobs: give 1 or more")
        arguments = [state.encode(), kind.encode(), *requests.place_of(cursor), b"%d" % min(limit, _PAGE)]
        place, offset, last, *ids = self._scripts.call("page", arguments)
        jobs = self.get([each.decode() for each in ids])
        right = [each for each in jobs if each and each.state is state and kind in ("", each.kind)]
        return Page(right, b"-".join((place, offset, last)).decode() if place else "")

    def cancel(self, ids: Sequence[str], *, why: str = "") -> Sequence[str]:
        return self._change("cancel", ids, why.encode())

    def requeue(self, ids: Sequence[str], *, keep_attempts: bool = False) -> Sequence[str]:
        return self._change("requeue", ids, b"%d" % keep_attempts)

    def purge(self, state: State, *, kind: str = "", before_ns: int | None = None) -> int:
        if state not in ENDED:
            raise UsageError(
                f"a job that is {state} is not purged: cancel it, or say {', '.join(sorted(ENDED))}"
            )
        count, cursor = 0, ""
        while True:
            # What is forgotten moves what is behind it: the next page is looked for after this one.
            page = self.list(state, kind=kind, cursor=cursor, limit=_MOST_ASKED)
            old = [
                each.id.encode() for each in page.jobs if before_ns is None or each.finished_ns < before_ns
            ]
            gone = int(self._scripts.call("forget", [state.encode(), *old])) if old else 0
            count += gone
            if not page.next:
                return count
            place, offset, last = requests.place_of(page.next)
            cursor = f"{place.decode()}-{max(0, int(offset) - gone)}-{last.decode()}"

    def stats(self) -> QueueStats:
        return answers.stats_of(self._scripts.call("stats", []))

    def limit(self, kind: str, limits: Limits) -> None:
        packed = requests.packed_limits(kind, limits)
        if packed is None:
            self._set_all(
                [(b"HDEL", self._prefix + b":" + each, kind.encode()) for each in (b"limits", b"bucket")]
            )
        else:
            self._client.ask(b"HSET", self._prefix + b":limits", kind.encode(), packed)

    def limits(self) -> Mapping[str, Limits]:
        return answers.limits_of(self._client.ask(b"HGETALL", self._prefix + b":limits"))

    # Who works

    def open_session(self, worker: str, *, kinds: Sequence[str], lease_s: float) -> str:
        self._check()
        session = uuid7.text()
        key, name = session.encode(), " ".join(worker.split()).encode()
        lease = pack_plain([lease_s, list(kinds)])
        self._set_all([
            (b"HSET", self._prefix + b":workers", key, name),
            (b"HSET", self._prefix + b":leases", key, lease),
            (b"HSET", self._prefix + b":sessions", key, b"1"),
        ])  # fmt: skip
        self._workers[session] = name
        return session

    def exchange(
        self, session: str, finished: Sequence[Finished] = (), *, kinds: Sequence[str] = (), want: int = 0
    ) -> Exchanged:
        if len(finished) > _MOST_ASKED:
            first = self.exchange(session, finished[:_MOST_ASKED])
            rest = self.exchange(session, finished[_MOST_ASKED:], kinds=kinds, want=want)
            return rest._replace(
                refused=[*first.refused, *rest.refused], revoked=[*first.revoked, *rest.revoked]
            )
        expected = self._clock.expected()
        arguments = requests.exchange(
            session, self._workers.get(session, b""), self._keep, finished, kinds, min(want, MOST_CLAIMED)
        )
        answer = self._scripts.call("exchange", [*requests.moment(expected), *arguments])
        if answer[0] == b"LOST":
            raise SessionLost(f"session {session}: its lease ran out, and somebody ended it")
        self._clock.hear(int(answer[0]), answer[1], expected)
        return answers.exchanged(answer)

    def held(self, session: str) -> Sequence[Claimed]:
        answer = self._scripts.call("held", [session.encode()])
        if answer and answer[0] == b"LOST":
            raise SessionLost(f"session {session}: its lease ran out, and somebody ended it")
        return answers.held_of(answer)

    def report(self, session: str, job_id: str, token: int, progress: Progress) -> bool:
        arguments = [session.encode(), job_id.encode(), b"%016d" % token, pack_progress(progress)]
        return bool(self._scripts.call("report", arguments))

    def sessions(self) -> Sequence[Session]:
        return self.stats().sessions

    def end_session(self, session: str, *, beats: int | None = None) -> Sequence[str]:
        answer = self._scripts.call(
            "end_session", [session.encode(), b"%d" % (-1 if beats is None else beats + 1)]
        )
        self._workers.pop(session, None)
        return [each.decode() for each in answer or ()]

    def wait(self, kinds: Sequence[str], timeout_s: float) -> None:
        if kinds and timeout_s > 0:
            keys = [self._prefix + b":wake:" + kind.encode() for kind in kinds]
            self._client.ask(b"BLPOP", *keys, f"{timeout_s:.3f}".encode())

    def upkeep(self) -> int:
        if self._clock.now_us() is None:
            self._move_clock(b"", 0)
        return int(self._scripts.call("upkeep", [*requests.moment(self._clock.expected()), self._keep]))

    # Cells

    def cells(self, prefix: str) -> Mapping[str, Cell]:
        return answers.cells_of(self._client.ask(b"HGETALL", self._prefix + b":cells"), prefix)

    def swap(self, name: str, version: int, value: bytes | None, specs: Sequence[Spec] = ()) -> bool:
        self._check()
        submission, _ = requests.submission(specs)
        arguments = [name.encode(), b"%d" % version, b"drop" if value is None else b"set", value or b""]
        return bool(self._scripts.call("swap", arguments + submission) != 0)

    def close(self) -> None:
        client, closed = self._client, cast("Client", _CLOSED)
        if client is not closed:
            client.close()
        self._client, self._scripts = closed, cast("Scripts", _CLOSED)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _set_all(self, commands: Sequence[tuple[bytes, ...]]) -> None:
        """Send commands together; none of them may be refused."""
        for answer in self._client.ask_all(commands):
            if isinstance(answer, Exception):
                raise self._client.error_of(answer) from answer

    def _change(self, script: str, ids: Sequence[str], first: bytes) -> Sequence[str]:
        """Have a script do something with jobs, which it finds by their lanes."""
        done = []
        for at in range(0, len(ids), _MOST_ASKED):
            part = [each for each in self.get(ids[at : at + _MOST_ASKED]) if each is not None]
            arguments = [first]
            for job in part:
                arguments += (job.id.encode(), job.kind.encode(), b"%d" % job.spec.priority)
            done += [each.decode() for each in self._scripts.call(script, arguments)]
        return done

    def _move_clock(self, epoch: bytes, by_us: int) -> tuple[int, bytes]:
        expected = self._clock.expected()
        now, moved = self._scripts.call("clock", [epoch, b"%d" % by_us])
        if not by_us:
            self._clock.hear(int(now), moved, expected)
        return int(now), moved

    def _check(self) -> None:
        """That what is there is of this format; once."""
        if self._is_checked:
            return
        key = self._prefix + b":format"
        if not self._client.ask(b"SET", key, _FORMAT, b"NX"):
            found = self._client.ask(b"GET", key)
            if found != _FORMAT:
                raise FormatError(
                    f"{self._shown}: the queue there says {found!r:.80}, not {_FORMAT.decode()!r}: use the newer "
                    "program, or another prefix"
                )
        self._is_checked = True
