"""What scripts answer, as jobs and counts. Pure; docs/design/jobs-redis.md has the forms.

It must not know who asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

from vcache.jobs.base import Cell, Claimed, Exchanged, KindTotals, QueueStats, Session
from vcache.jobs.models import Failure, Job, Limits, Spec
from vcache.jobs.packing import unpack_failure, unpack_progress, unpack_result, unpack_spec
from vcache.jobs.states import State
from vcache.serialize.plain import unpack_plain

__all__ = ["cells_of", "exchanged", "held_of", "job_of", "limits_of", "stats_of", "stood_for"]

_DIGITS: Final = 16  # of tokens and times in microseconds


def stood_for(stands: Sequence[Any], specs: Sequence[Spec], special: Sequence[Spec]) -> list[str]:
    """The id for each spec: its own, or that of the job which has its unique key."""
    if not stands:
        return [spec.id for spec in specs]
    others = {
        special[number - 1].id: other.decode()
        for number, other in zip(stands[::2], stands[1::2], strict=True)
    }
    return [others.get(spec.id, spec.id) for spec in specs]


def exchanged(answer: Sequence[Any]) -> Exchanged:
    """What an exchange brought."""
    _, _, refused, revoked, next_due, token, specs, tries = answer
    number = int(token or 0)
    claimed = [Claimed(unpack_spec(spec), number, 1) for spec in specs]
    for index, attempt, kills in zip(tries[::3], tries[1::3], tries[2::3], strict=True):
        claimed[index - 1] = Claimed(claimed[index - 1].spec, number, attempt, kills)
    due_us = int(next_due)
    return Exchanged(
        claimed,
        [each.decode() for each in refused],
        [each.decode() for each in revoked],
        None if due_us < 0 else due_us / 1e6,
    )


def held_of(answer: Sequence[bytes]) -> list[Claimed]:
    """What a session holds."""
    found = []
    for spec, held in zip(answer[::2], answer[1::2], strict=True):
        token, _, attempt, kills = _held(held)
        found.append(Claimed(unpack_spec(spec), token, attempt, kills))
    return found


def job_of(answer: Sequence[Any]) -> Job | None:
    """A job as its queue has it."""
    if not answer:
        return None
    packed, name, info, session, tries, progress, failures, worker = answer
    state = State(name.decode())
    attempts, kills = map(int, tries.split(b":"))
    job = Job(
        unpack_spec(packed), state, attempts, kills,
        progress=unpack_progress(progress) if progress else None, failures=_failures(failures),
    )  # fmt: skip
    if state is State.RUNNING:
        token, started_ns, attempts, kills = _held(info)
        return job._replace(
            attempts=attempts,
            kills=kills,
            started_ns=started_ns,
            token=token,
            worker=(worker or session).decode(),
        )
    if state is State.COMPLETED:
        finished_ns = _ns(info[:_DIGITS])
        held, who, result = info[_DIGITS:].split(b"\n", 2)
        _, started_ns, attempts, kills = _held(held)
        return job._replace(
            attempts=attempts, kills=kills, started_ns=started_ns, finished_ns=finished_ns,
            worker=who.decode(), result=unpack_result(result),
        )  # fmt: skip
    if state in (State.DEAD, State.CANCELLED):
        who, _, why = info[2 * _DIGITS + 1 :].partition(b"\n")
        return job._replace(
            started_ns=_ns(info[:_DIGITS]), finished_ns=_ns(info[_DIGITS : 2 * _DIGITS]), worker=who.decode(),
            why=why.decode("utf-8", "replace"),
        )  # fmt: skip
    if state is State.BLOCKED:
        return job._replace(due_ns=int(info.split(b":")[2]) * 1000)
    return job._replace(due_ns=int(float(info)) * 1000) if info else job


def stats_of(answer: Sequence[Any]) -> QueueStats:
    """What a queue holds."""
    lanes, numbers, totals, sessions, workers, leases, held, oldest = answer
    waiting = {
        (kind.decode(), int(priority)): int(count)
        for kind, priority, count in zip(lanes[::3], lanes[1::3], lanes[2::3], strict=True)
    }
    late, retry, blocked, completed, dead, cancelled = map(int, numbers)
    found = _sessions(_pairs(sessions), _pairs(workers), _pairs(leases), held)
    by_state = {
        State.QUEUED: sum(waiting.values()) + late - retry,
        State.RETRY: retry,
        State.BLOCKED: blocked,
        State.RUNNING: sum(each.n_held for each in found),
        State.FAILED: 0,
        State.COMPLETED: completed,
        State.DEAD: dead,
        State.CANCELLED: cancelled,
    }
    submitted, by_kind = _totals(_pairs(totals))
    return QueueStats(
        waiting,
        late - retry,
        by_state,
        by_kind,
        unpack_spec(oldest).created_ns if oldest else 0,
        found,
        submitted,
    )


def limits_of(answer: Sequence[bytes]) -> Mapping[str, Limits]:
    """Limits by kind."""
    found = {}
    for kind, packed in _pairs(answer).items():
        rate, burst, running = packed.split()
        found[kind.decode()] = Limits(float(rate), float(burst), int(running))
    return found


def cells_of(answer: Sequence[bytes], prefix: str) -> Mapping[str, Cell]:
    """Cells by name, of those whose names begin so."""
    found = {}
    for name, packed in sorted(_pairs(answer).items()):
        if name.startswith(prefix.encode()):
            version, _, value = packed.partition(b":")
            found[name.decode()] = Cell(int(version), value)
    return found


def _sessions(
    beats: Mapping[bytes, bytes],
    workers: Mapping[bytes, bytes],
    leases: Mapping[bytes, bytes],
    held: Sequence[int],
) -> list[Session]:
    found = []
    for (session, count), n_held in zip(beats.items(), held, strict=True):
        lease_s, kinds = cast("tuple[float, list[str]]", unpack_plain(leases.get(session, b"\x92\x00\x90")))
        worker = workers.get(session, b"").decode()
        found.append(
            Session(session.decode(), worker, int(count) - 1, lease_s, n_held, kinds)
        )  # it begins with 1
    return found


def _totals(packed: Mapping[bytes, bytes]) -> tuple[dict[tuple[str, int], int], dict[str, KindTotals]]:
    """What was submitted by kind and priority, and what became of it by kind."""
    submitted: dict[tuple[str, int], int] = {}
    found: dict[str, dict[str, int]] = {}
    for field, packed_count in packed.items():
        (what, _, kind), count = field.decode().partition(":"), int(packed_count)
        if what == "submitted":
            priority, _, kind = kind.partition(":")
            submitted[kind, int(priority)] = count
        by_what = found.setdefault(kind, {})
        by_what[what] = by_what.get(what, 0) + count
    return submitted, {kind: KindTotals(**by_what) for kind, by_what in found.items()}


def _held(value: bytes) -> tuple[int, int, int, int]:
    """Token, start, attempt and kills."""
    attempt, kills, _ = value[2 * _DIGITS + 1 :].split(b":", 2)
    return int(value[:_DIGITS]), _ns(value[_DIGITS : 2 * _DIGITS]), int(attempt), int(kills)


def _failures(packed: bytes) -> list[Failure]:
    found, at = [], 0
    while at < len(packed):
        size_bytes = int(packed[at : at + 8])
        found.append(unpack_failure(packed[at + 8 : at + 8 + size_bytes]))
        at += 8 + size_bytes
    return found


def _ns(digits: bytes) -> int:
    return int(digits) * 1000


def _pairs(flat: Sequence[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
