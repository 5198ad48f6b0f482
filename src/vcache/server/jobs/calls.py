"""The calls of remote queues (`vcache.jobs.remote`): arguments and answers in msgpack, one queue method each.

Those that a worker makes are for builders: they run what others asked for, and say what came of it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from vcache.errors import (
    DecodeError,
    EncodeError,
    SerializeError,
    SessionLost,
    StoreError,
    StoreUnavailable,
    UsageError,
    VcacheError,
)
from vcache.jobs.base import MOST_CLAIMED
from vcache.jobs.remote import wire
from vcache.jobs.states import State
from vcache.kit.data import NamedTuple
from vcache.server.api.problems import problem
from vcache.server.callers import Role
from vcache.server.jobs.desk import JobDesk, require_role
from vcache.server.refused import Refusal, Refused, refusal_of

if TYPE_CHECKING:
    from vcache.jobs.base import Exchanged, Finished, Queue
    from vcache.jobs.models import Spec
    from vcache.server.dialect import Answer
    from vcache.server.exchange import Exchange

__all__ = ["QueueCalls"]

_BODY_BYTES: Final = 64 << 20  # a job and a result may be 32 MiB each
_TYPE: Final = ("content-type", "application/msgpack")
_FRESH: Final = ("cache-control", "no-store")
_MOST_IDS: Final = 100_000
_MOST_WAIT_S: Final = 60.0
_LEASES_S: Final = (0.1, 3600.0)
_KINDS: Final = {
    SessionLost: Refusal.CONFLICT, UsageError: Refusal.MALFORMED, DecodeError: Refusal.MALFORMED,
    EncodeError: Refusal.MALFORMED, StoreUnavailable: Refusal.BUSY,
}  # fmt: skip


class _Named(Refused):
    """A refusal that says which error of a queue it is."""

    def __init__(self, error: VcacheError) -> None:
        kind = next((kind for known, kind in _KINDS.items() if isinstance(error, known)), None)
        super().__init__(refusal_of(error).kind if kind is None else kind, str(error))
        known = (SessionLost, UsageError, SerializeError, StoreError)
        base = next(base for base in type(error).__mro__ if base.__module__ == "vcache.errors")
        self.details: Mapping[str, object] = {"error": base.__name__} if isinstance(error, known) else {}


class _Asked(NamedTuple):
    """One call under way."""

    exchange: Exchange
    queue: Queue
    arguments: Sequence[Any]
    size_bytes: int


class _Call(NamedTuple):
    """A call: what types its arguments are of, what answers it, who may make it."""

    types: Sequence[type | tuple[type, ...]]
    handler: Callable[[_Asked], Awaitable[object]]
    role: Role


class QueueCalls:
    """Answers the calls of remote queues."""

    name = "queue"

    def __init__(self, desk: JobDesk) -> None:
        self._desk = desk
        number = (int, float)
        some = (int, type(None))
        reader, writer, builder = Role.READER, Role.WRITER, Role.BUILDER
        self._calls: Mapping[str, _Call] = {
            "info": _Call((), self._info, reader),
            "now": _Call((), self._on_thread(lambda queue: queue.now_ns()), reader),
            "submit": _Call((list,), self._submit, writer),
            "get": _Call((list,), self._on_thread(_got), reader),
            "list": _Call((str, str, str, int), self._on_thread(_listed), reader),
            "cancel": _Call((list, str), self._cancel, writer),
            "requeue": _Call((list, bool), self._requeue, writer),
            "purge": _Call((str, str, some), self._purge, builder),
            "stats": _Call((), self._on_thread(lambda queue: wire.sent_stats(queue.stats())), reader),
            "limit": _Call((str, list), self._limit, builder),
            "limits": _Call((), self._on_thread(lambda queue: dict(queue.limits())), reader),
            "open-session": _Call((str, list, number), self._open_session, builder),
            "exchange": _Call((str, list, list, int), self._exchange, builder),
            "held": _Call((str,), self._on_thread(_held), builder),
            "report": _Call((str, str, int, list), self._report, builder),
            "sessions": _Call((), self._on_thread(lambda queue: list(queue.sessions())), reader),
            "end-session": _Call((str, some), self._end_session, builder),
            "wait": _Call((list, number), self._wait, builder),
            "upkeep": _Call((), self._on_thread(lambda queue: queue.upkeep()), builder),
            "cells": _Call((str,), self._on_thread(_cells), reader),
            "swap": _Call((str, int, (bytes, type(None)), list), self._swap, writer),
        }
        assert set(self._calls) == set(wire.CALLS)

    def claims(self, path: str) -> bool:
        """Whether a path is a call's."""
        return path.startswith(wire.PATH)

    def needs_token(self, method: str, path: str) -> bool:
        """Always."""
        return True

    async def answer(self, exchange: Exchange) -> None:
        """Answer one call.

        Raises:
            Refused: it is not done.
        """
        name = exchange.path[len(wire.PATH) :]
        call = self._calls.get(name)
        if call is None:
            raise Refused(
                Refusal.ABSENT, f"{name!r:.80} is no call of a queue: is this server older than its client?"
            )
        if exchange.method != "POST":
            raise Refused(Refusal.METHOD, f"{exchange.method} {exchange.path}: POST")
        require_role(exchange.caller, call.role, f"the call {name!r}")
        if call.role > Role.READER:
            self._desk.require_write()
        await self._answer(exchange, name, call)

    async def _answer(self, exchange: Exchange, name: str, call: _Call) -> None:
        length = exchange.length_bytes
        if length is None:
            raise Refused(Refusal.LENGTH_REQUIRED, "a body without Content-Length")
        if name in ("submit", "swap"):
            exchange.desk.admit(exchange.caller, length)
        try:
            with self._desk.under_way.room(min(length, _BODY_BYTES)):
                body = await exchange.read(_BODY_BYTES)
                size_bytes = len(body)
                arguments = _arguments(name, call.types, await self._unpacked(body))
                del body
                queue = await self._desk.queue(exchange.caller.namespace)
                value = await call.handler(_Asked(exchange, queue, arguments, size_bytes))
            packed = wire.pack(value) if size_bytes < _SMALL else await self._desk.run(wire.pack, value)
        except Refused:
            raise
        except VcacheError as error:
            raise _Named(error) from error
        await exchange.answer(200, packed, (_TYPE, _FRESH))

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """As a problem in JSON, with the name of the error."""
        status, headers, body = problem(refused)
        if refused.kind is Refusal.METHOD:
            headers = [*headers, ("allow", "POST")]
        return status, headers, body

    def _on_thread(self, work: Callable[..., object]) -> Callable[[_Asked], Awaitable[object]]:
        """What asks the queue for something, and changes nothing."""

        async def handler(asked: _Asked) -> object:
            return await self._desk.run(work, asked.queue, *asked.arguments)

        return handler

    async def _unpacked(self, body: bytes) -> object:
        return wire.unpack(body) if len(body) < _SMALL else await self._desk.run(wire.unpack, body)

    # -- who asks ----------------------------------------------------------------------------

    async def _info(self, asked: _Asked) -> object:
        return asked.queue.info._replace(namespace=asked.exchange.caller.namespace)

    async def _submit(self, asked: _Asked) -> object:
        specs = self._specs(asked, asked.arguments[0])
        ids = await self._desk.run(asked.queue.submit, specs)
        self._took(asked, specs)
        return list(ids)

    async def _swap(self, asked: _Asked) -> object:
        name, version, value, listed = asked.arguments
        specs = self._specs(asked, listed)
        done = await self._desk.run(asked.queue.swap, name, version, value, specs)
        if done:
            self._took(asked, specs)
            await self._desk.noted(asked.exchange.caller, "cell", name)
        return done

    def _specs(self, asked: _Asked, listed: object) -> list[Spec]:
        namespace = asked.exchange.caller.namespace
        return [spec._replace(namespace=namespace) for spec in wire.listed(listed, wire.spec_of)]

    def _took(self, asked: _Asked, specs: Sequence[Spec]) -> None:
        self._desk.took(asked.exchange.caller, specs, asked.size_bytes)
        asked.exchange.outcome = "put"

    async def _cancel(self, asked: _Asked) -> object:
        ids, why = asked.arguments
        done = await self._desk.run(lambda: asked.queue.cancel(_ids(ids), why=why))
        return await self._changed(asked, "cancel", done)

    async def _requeue(self, asked: _Asked) -> object:
        ids, keep = asked.arguments
        done = await self._desk.run(lambda: asked.queue.requeue(_ids(ids), keep_attempts=keep))
        return await self._changed(asked, "requeue", done)

    async def _changed(self, asked: _Asked, action: str, ids: Sequence[str]) -> list[str]:
        caller = asked.exchange.caller
        if ids:
            await self._desk.noted(caller, action, ids[0] if len(ids) == 1 else f"{len(ids)} jobs")
            self._desk.nudge(caller.namespace)
        return list(ids)

    async def _purge(self, asked: _Asked) -> object:
        state, kind, before_ns = asked.arguments
        meant = _state(state)
        count: int = await self._desk.run(lambda: asked.queue.purge(meant, kind=kind, before_ns=before_ns))
        await self._desk.noted(asked.exchange.caller, "purge", f"{count} {state} jobs")
        return count

    async def _limit(self, asked: _Asked) -> object:
        kind, limits = asked.arguments[0], wire.limits_of(asked.arguments[1])
        await self._desk.run(asked.queue.limit, kind, limits)
        await self._desk.noted(asked.exchange.caller, "limit", kind)
        return None

    # -- who works ---------------------------------------------------------------------------

    async def _open_session(self, asked: _Asked) -> object:
        worker, kinds, lease_s = asked.arguments
        least_s, most_s = _LEASES_S
        if not least_s <= lease_s <= most_s:
            raise UsageError(f"a lease of {lease_s!r} s: give {least_s:g} to {most_s:g}")
        texts = wire.texts_of(kinds)
        return await self._desk.run(
            lambda: asked.queue.open_session(worker, kinds=texts, lease_s=float(lease_s))
        )

    async def _exchange(self, asked: _Asked) -> object:
        session, finished, kinds, want = asked.arguments
        ended = wire.listed(finished, wire.finished_of)
        asks = wire.texts_of(kinds)
        namespace = asked.exchange.caller.namespace
        got, now_ns = await self._desk.run(
            _exchanged, asked.queue, session, ended, asks, min(want, MOST_CLAIMED)
        )
        if ended or got.claimed:
            self._desk.measures.finished(namespace, ended)
            self._desk.measures.claimed(namespace, got.claimed, now_ns)
            self._desk.nudge(namespace)
        return wire.sent_exchanged(got)

    async def _report(self, asked: _Asked) -> object:
        session, job_id, token, said = asked.arguments
        counts = await self._desk.run(asked.queue.report, session, job_id, token, wire.progress_of(said))
        self._desk.nudge(asked.exchange.caller.namespace)
        return counts

    async def _end_session(self, asked: _Asked) -> object:
        session, beats = asked.arguments
        lost = await self._desk.run(lambda: asked.queue.end_session(session, beats=beats))
        self._desk.measures.lost(lost)
        self._desk.nudge(asked.exchange.caller.namespace)
        return list(lost)

    async def _wait(self, asked: _Asked) -> object:
        kinds, timeout_s = asked.arguments
        waiting = await self._desk.waiting(asked.exchange.caller.namespace)
        await waiting.wait(wire.texts_of(kinds), max(0.0, min(timeout_s, _MOST_WAIT_S)))
        return None


_SMALL: Final = 32 << 10  # what takes less than a thread's turn


def _got(queue: Queue, ids: object) -> object:
    return [wire.sent_job(job) for job in queue.get(_ids(ids))]


def _listed(queue: Queue, state: str, kind: str, cursor: str, limit: int) -> object:
    page = queue.list(_state(state), kind=kind, cursor=cursor, limit=limit)
    return [[wire.sent_job(job) for job in page.jobs], page.next]


def _held(queue: Queue, session: str) -> object:
    return [wire.sent_claimed(claimed) for claimed in queue.held(session)]


def _cells(queue: Queue, prefix: str) -> object:
    return {name: list(cell) for name, cell in queue.cells(prefix).items()}


def _exchanged(
    queue: Queue, session: str, ended: Sequence[Finished], kinds: Sequence[str], want: int
) -> tuple[Exchanged, int]:
    got = queue.exchange(session, ended, kinds=kinds, want=want)
    return got, queue.now_ns() if got.claimed else 0


def _ids(value: object) -> Sequence[str]:
    ids = wire.texts_of(value)
    if len(ids) > _MOST_IDS:
        raise UsageError(f"{len(ids):,} ids at once: give at most {_MOST_IDS:,}")
    return ids


def _state(text: str) -> State:
    try:
        return State(text)
    except ValueError:
        raise UsageError(f"{text!r:.40} is no state of a job") from None


def _arguments(name: str, types: Sequence[type | tuple[type, ...]], value: object) -> Sequence[Any]:
    """The arguments of a call.

    Raises:
        DecodeError: too many, too few, or of other types.
    """
    if not isinstance(value, list) or len(value) != len(types):
        raise DecodeError(f"the call {name!r} takes a list of {len(types)} arguments, not {value!r:.80}")
    for argument, kind in zip(value, types, strict=True):
        if type(argument) not in (kind if isinstance(kind, tuple) else (kind,)):
            raise DecodeError(f"the call {name!r}: {argument!r:.80} is of the wrong type")
    return cast("Sequence[Any]", value)
