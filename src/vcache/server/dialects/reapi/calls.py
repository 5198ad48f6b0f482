"""One call and what comes of it: who asks, what a refusal is to gRPC, what is counted.

It knows gRPC and the desk, and no service.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

import grpc

from vcache.entry import cost_ns_in
from vcache.kit.data import dataclass
from vcache.server.callers import NOBODY, Caller
from vcache.server.refused import Refusal, Refused, refusal_of
from vcache.wire import reapi_pb2 as wire
from vcache.wire.text import from_bytes

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from vcache.server.counts import Slot
    from vcache.server.exchange import Desk
    from vcache.server.vault import Found

__all__ = ["Call", "Reception", "Work"]

_log: Final = logging.getLogger("vcache.server")

_METADATA: Final = "build.bazel.remote.execution.v2.requestmetadata-bin"
_STATUS: Final = {
    Refusal.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Refusal.FORBIDDEN: grpc.StatusCode.PERMISSION_DENIED,
    Refusal.ABSENT: grpc.StatusCode.NOT_FOUND,
    Refusal.METHOD: grpc.StatusCode.UNIMPLEMENTED,
    Refusal.CONFLICT: grpc.StatusCode.ABORTED,
    Refusal.PRECONDITION: grpc.StatusCode.FAILED_PRECONDITION,
    Refusal.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.MEDIA: grpc.StatusCode.INVALID_ARGUMENT,
    Refusal.RANGE: grpc.StatusCode.OUT_OF_RANGE,
    Refusal.CROWDED: grpc.StatusCode.UNAVAILABLE,
    Refusal.BUSY: grpc.StatusCode.UNAVAILABLE,
    Refusal.BROKEN: grpc.StatusCode.INTERNAL,
    Refusal.FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
}


class Authenticator(Protocol):
    """Says who asks; see `vcache.server.auth`."""

    def __call__(self, scope: dict[str, Any]) -> Caller: ...


class Call:
    """One call, as the services see it.

    Attributes:
        caller: who asks.
        outcome, in_bytes, out_bytes, saved_ns: what came of it, to be counted.
        refused: of what was done in part, why the rest was not.
    """

    __slots__ = ("_context", "caller", "desk", "in_bytes", "out_bytes", "outcome", "refused", "saved_ns")

    def __init__(self, desk: Desk, caller: Caller, context: grpc.ServicerContext) -> None:
        self.desk, self.caller = desk, caller
        self._context = context
        self.outcome = ""
        self.in_bytes = self.out_bytes = self.saved_ns = 0
        self.refused: list[Refusal] = []

    def hit(self, found: Found) -> None:
        """Count a hit."""
        self.outcome = "hit"
        self.saved_ns += cost_ns_in(found.record.head)

    def said(self) -> wire.RequestMetadata:
        """What the client says of its build; empty where it says nothing."""
        for name, value in self._context.invocation_metadata():
            if name == _METADATA and isinstance(value, bytes):
                try:
                    return from_bytes(wire.RequestMetadata, value)
                except ValueError:
                    break
        return wire.RequestMetadata()

    def give_up(self) -> None:
        """End the call from another thread."""
        self._context.cancel()


Work = Callable[[Any, Call], Any]
"""What a service does with a request, or an iterator of them; may raise Refused."""


@dataclass(frozen=True, slots=True)
class Reception:
    """Takes calls: authenticates, counts, and says refusals.

    Attributes:
        counts: what is counted; shared with nobody.
    """

    desk: Desk
    authenticator: Authenticator
    counts: Slot

    def unary(
        self, work: Work, request: type[Message], *, is_open: bool = False
    ) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a method with one request and one answer."""

        def answer(given: Any, context: grpc.ServicerContext) -> Any:
            with self._received(context, is_open=is_open) as call:
                return work(given, call)

        return grpc.unary_unary_rpc_method_handler(
            answer, request_deserializer=request.FromString, response_serializer=_bytes
        )

    def upload(self, work: Work, request: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a method that takes a stream."""

        def answer(given: Iterable[Any], context: grpc.ServicerContext) -> Any:
            with self._received(context) as call:
                return work(given, call)

        return grpc.stream_unary_rpc_method_handler(
            answer, request_deserializer=request.FromString, response_serializer=_bytes
        )

    def download(self, work: Work, request: type[Message]) -> grpc.RpcMethodHandler[Any, Any]:
        """The handler of a method that answers with a stream."""

        def answers(given: Any, context: grpc.ServicerContext) -> Iterator[Any]:
            with self._received(context) as call:
                yield from work(given, call)

        return grpc.unary_stream_rpc_method_handler(
            answers, request_deserializer=request.FromString, response_serializer=_bytes
        )

    @contextmanager
    def _received(self, context: grpc.ServicerContext, *, is_open: bool = False) -> Iterator[Call]:
        """A call, which is counted at its end, and refused where it fails.

        Args:
            is_open: whether anybody may make it.
        """
        started_ns = time.perf_counter_ns()
        call: Call | None = None
        why: Refused | None = None
        try:
            call = self._call(context, is_open=is_open)
            yield call
        except Exception as error:  # whatever it is, the client is told
            why = _refusal(error)
        finally:
            self._account(call, why, started_ns)
        if why is not None:
            _abort(context, why)

    def _call(self, context: grpc.ServicerContext, *, is_open: bool) -> Call:
        """Who calls.

        Raises:
            Refused: nobody that may, where that matters.
        """
        headers = [
            (b"authorization", value.encode("latin-1") if isinstance(value, str) else value)
            for name, value in context.invocation_metadata()
            if name == "authorization"
        ]
        try:
            caller = self.authenticator({"headers": headers})
            if not caller.may_read:
                raise Refused(Refusal.UNAUTHENTICATED, "who asks? Send a token as Authorization")
        except Refused:
            if not is_open:
                raise
            caller = NOBODY
        return Call(self.desk, caller, context)

    def _account(self, call: Call | None, why: Refused | None, started_ns: int) -> None:
        took_ns = time.perf_counter_ns() - started_ns
        if why is not None and why.kind is not Refusal.ABSENT:
            self.counts.refuse(why.kind.value)
        if call is None:
            self.counts.took(took_ns)
            return
        for kind in call.refused:
            self.counts.refuse(kind.value)
        self.counts.count(
            call.outcome,
            in_bytes=call.in_bytes,
            out_bytes=call.out_bytes,
            saved_ns=call.saved_ns,
            took_ns=took_ns,
        )


def _refusal(error: Exception) -> Refused:
    if isinstance(error, grpc.RpcError):  # the client's stream broke off
        return Refused(Refusal.MALFORMED, "the client went away")
    why = refusal_of(error)
    if why.kind is Refusal.FULL and why is not error:
        _log.warning("a call was refused: %s", why)
    elif why is not error:
        _log.error("a call failed", exc_info=error)
    return why


def _abort(context: grpc.ServicerContext, why: Refused) -> NoReturn:
    context.abort(_STATUS[why.kind], str(why))
    raise AssertionError("abort returns never")


def _bytes(message: Message) -> bytes:
    return message.SerializeToString()
