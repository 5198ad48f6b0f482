"""What scripts are given, as lists of arguments. Pure.

It must not know what they answer.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from vcache.errors import UsageError
from vcache.jobs.base import Finished
from vcache.jobs.models import Limits, Plain, Priority, Spec
from vcache.jobs.packing import pack_failure, pack_result, pack_spec
from vcache.jobs.redis.clock import Expected
from vcache.jobs.states import Event

__all__ = ["exchange", "moment", "packed_limits", "place_of", "single", "submission"]

_PRIORITIES: Final = frozenset(Priority)
_ACTS: Final = {Event.TRY_AGAIN: b"r", Event.GIVE_UP: b"d", Event.RELEASE: b"b", Event.LOSE: b"l"}
_ID_CHARS: Final = 36
_CURSOR: Final = re.compile(r"([0-9]{1,6})-([0-9]{1,15})-((?:[0-9]{16}[!-~]{1,200})?)", re.ASCII)


def submission(specs: Sequence[Spec]) -> tuple[list[bytes], list[Spec]]:
    """What `submit` is given, and those of the specs that are more than a line in a queue.

    Raises:
        UsageError: a spec that no queue could keep.
    """
    plain: dict[tuple[str, int], list[bytes]] = {}
    special: list[Spec] = []
    for spec in specs:
        if _is_special(spec):
            special.append(spec)
            continue
        lane = spec.kind, spec.priority
        group = plain.get(lane)
        if group is None:
            _check_lane(spec)
            group = plain[lane] = []
        job_id = spec.id.encode()
        if len(job_id) != _ID_CHARS:
            _check_lane(spec)
        group.append(job_id)
        group.append(pack_spec(spec))
    arguments = [b"%d" % len(plain)]
    for (kind, priority), group in plain.items():
        arguments += (kind.encode(), b"%d" % priority, b"%d" % (len(group) // 2))
        arguments += group
    arguments.append(b"%d" % len(special))
    for spec in special:
        _check_lane(spec)
        arguments += (
            spec.id.encode(), pack_spec(spec), spec.kind.encode(), b"%d" % spec.priority,
            b"%d" % (spec.not_before_ns // 1000), b"%d" % (spec.deadline_ns // 1000), spec.unique.encode(),
            b"%d" % round(spec.unique_s * 1e6), b"%d" % len(spec.after), *(each.encode() for each in spec.after),
        )  # fmt: skip
    return arguments, special


def single(spec: Spec) -> list[bytes] | None:
    """What `single` is given; None for a spec that is more than a line in a lane.

    Raises:
        UsageError: no queue could keep it.
    """
    if _is_special(spec):
        return None
    _check_lane(spec)
    return [spec.kind.encode(), b"%d" % spec.priority, spec.id.encode(), pack_spec(spec)]


def exchange(
    session: str, worker: bytes, keep: bytes, finished: Sequence[Finished], kinds: Sequence[str], want: int
) -> list[bytes]:
    """What `exchange` is given."""
    groups: dict[tuple[int, int, int, int, str], tuple[list[str], list[Plain]]] = {}
    others: list[bytes] = []
    for claimed, event, result, failure, delay_s in finished:
        spec, token, attempt, kills = claimed
        alike = token, spec.priority, attempt, kills, spec.kind
        if event is Event.COMPLETE:
            group = groups.get(alike)
            if group is None:
                group = groups[alike] = [], []
            group[0].append(spec.id)
            group[1].append(result)
        else:
            others += (
                spec.id.encode(), _entry(*alike), _ACTS[event], b"%d" % round(delay_s * 1e6),
                b"" if failure is None else pack_failure(failure),
            )  # fmt: skip
    arguments = [
        session.encode(),
        worker,
        keep,
        b"%d" % want,
        b"%d" % len(kinds),
        *map(str.encode, kinds),
        b"%d" % len(groups),
    ]
    for alike, (ids, results) in groups.items():
        has_results = results.count(None) < len(results)
        arguments += (_entry(*alike), b"%d" % len(ids), b"%d" % has_results)
        arguments += map(str.encode, ids)
        if has_results:
            arguments += map(pack_result, results)
    arguments.append(b"%d" % (len(others) // 5))
    return arguments + others


def moment(expected: Expected) -> tuple[bytes, bytes, bytes]:
    """What time it should be, in which epoch of the clock, and how far off that may be."""
    return b"%d" % expected.now_us, expected.epoch, b"%d" % expected.most_us


def _entry(token: int, priority: int, attempt: int, kills: int, kind: str) -> bytes:
    """Under what a session holds such jobs."""
    return f"{token:016d}{priority:d}{attempt}:{kills}:{kind}".encode()


def packed_limits(kind: str, limits: Limits) -> bytes | None:
    """Limits as the scripts read them; None for none.

    Raises:
        UsageError: a number that makes no sense.
    """
    for name, value in zip(limits._fields, limits, strict=True):
        if not 0 <= value < 1e9:
            raise UsageError(f"limits of {kind!r}: {name}={value!r}: give a number from 0 on")
    if not limits.rate and not limits.running:
        return None
    return f"{float(limits.rate)!r} {float(limits.burst)!r} {int(limits.running)}".encode()


def place_of(cursor: str) -> tuple[bytes, bytes, bytes]:
    """Where a page begins: which of several lists, how far in it, and behind what.

    Raises:
        UsageError: that is no cursor of ours.
    """
    if not cursor:
        return b"0", b"0", b""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise UsageError(f"{cursor!r:.80} is no cursor: give the one of the page before, or none")
    place, offset, last = found.groups()
    return place.encode(), offset.encode(), last.encode()


def _is_special(spec: Spec) -> bool:
    return bool(spec.not_before_ns or spec.deadline_ns or spec.unique or spec.after)


def _check_lane(spec: Spec) -> None:
    if len(spec.id) != _ID_CHARS or not spec.id.isascii():
        raise UsageError(f"job {spec.kind!r}: {spec.id!r:.80} is no id: give a UUID as text, or none")
    if not spec.kind or not spec.kind.isprintable() or len(spec.kind) > 200:
        raise UsageError(f"job kind {spec.kind!r:.210}: give a printable word of at most 200 characters")
    if spec.priority not in _PRIORITIES:
        raise UsageError(f"job {spec.kind!r}: priority {spec.priority!r} is not in 0 (critical) to 3 (low)")
