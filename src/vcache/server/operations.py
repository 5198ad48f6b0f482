"""What those who run a server ask of it: `/healthz`, `/readyz` (also `/health`), `/metrics`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from vcache.metrics import METRICS, Family, exposition
from vcache.server.callers import Caller
from vcache.server.counts import BOUNDS_S, Counts
from vcache.server.dialect import Answer
from vcache.server.exchange import Exchange
from vcache.server.phrases import BEARER, READS, plain
from vcache.server.refused import Refusal, Refused
from vcache.store.guard import GuardedStore

if TYPE_CHECKING:
    from vcache.server.vault import Vault

__all__ = ["Operations"]

_PATHS: Final = ("/healthz", "/readyz", "/health", "/metrics")
_FRESH: Final = ("cache-control", "no-store")
_TEXT: Final = (("content-type", "text/plain; charset=utf-8"), _FRESH)
_METRICS: Final = (("content-type", "text/plain; version=0.0.4; charset=utf-8"), _FRESH)
_NS: Final = 1e9
# By metric: the label's value, and the field of `Telemetry`.
_REMOTES: Final = {
    "vcache_remote_lookups": (("hit", "hits"), ("miss", "misses"), ("unasked", "unasked")),
    "vcache_remote_bytes": (("received", "read_bytes"), ("sent", "sent_bytes")),
    "vcache_remote_writes": (("spooled", "spooled"), ("sent", "sent"), ("dropped", "dropped")),
    "vcache_remote_refused": (("damaged", "corrupt"), ("untrusted", "refused")),
    "vcache_remote_faults": (("", "faults"),),
    "vcache_remote_opens": (("", "opens"),),
    "vcache_remote_waited_seconds": (("", "waited_s"),),
}


class Operations:
    """Answers probes and scrapes.

    Args:
        counts: of the dialects.
        trouble: why no PUT would be taken now; None where one would.
        vault: whose tiers are measured.
        connections: how many there are.
        more: what other parts count, as a caller may see it; on a thread.
    """

    name = "operations"

    def __init__(
        self,
        counts: Counts,
        trouble: Callable[[], str | None],
        vault: Vault,
        connections: Callable[[], int],
        *,
        more: Callable[[Caller], Iterable[Family]] = lambda _: (),
    ) -> None:
        self._more = more
        self._counts, self._trouble = counts, trouble
        self._vault, self._connections = vault, connections

    def claims(self, path: str) -> bool:
        """Whether a path is one of these."""
        return path in _PATHS

    def needs_token(self, method: str, path: str) -> bool:
        """For numbers, not for probes."""
        return path == "/metrics"

    async def answer(self, exchange: Exchange) -> None:
        """Answer a probe or a scrape."""
        if exchange.method not in READS:
            raise Refused(Refusal.METHOD, f"{exchange.method} {exchange.path} means nothing")
        if exchange.path == "/healthz":
            await exchange.answer(200, b"alive\n", _TEXT)
        elif exchange.path in ("/readyz", "/health"):
            trouble = await exchange.desk.run(self._trouble)
            await exchange.answer(503 if trouble else 200, f"{trouble or 'ready'}\n".encode(), _TEXT)
        else:
            caller = exchange.caller
            text = await exchange.desk.run(
                lambda: exposition((*self.families(), *self._more(caller)), is_process=True)
            )
            await exchange.answer(200, text, _METRICS)

    def phrase(self, refused: Refused, *, method: str, path: str) -> Answer:
        """A line of words."""
        status, headers, body = plain(refused, challenge=BEARER)
        return status, [*headers, _FRESH], body

    def families(self) -> Iterator[Family]:
        """All that is counted, as it is now."""
        slots = sorted(self._counts.slots.items())
        outcomes = ("hit", "hits"), ("miss", "misses"), ("put", "puts"), ("other", "others")
        yield _family(
            "vcache_server_requests",
            [((name, word), getattr(slot, field)) for name, slot in slots for word, field in outcomes],
        )
        yield _family(
            "vcache_server_refused",
            [
                ((name, str(status)), count)
                for name, slot in slots
                for status, count in sorted(slot.refused.items())
            ],
        )
        for name, field in (("received", "in_bytes"), ("sent", "out_bytes")):
            yield _family(
                f"vcache_server_{name}_bytes", [((dialect,), getattr(slot, field)) for dialect, slot in slots]
            )
        yield _family("vcache_server_saved_seconds", [((name,), slot.saved_ns / _NS) for name, slot in slots])
        yield _family("vcache_server_running", [((name,), slot.running) for name, slot in slots])
        yield Family(
            METRICS["vcache_server_duration_seconds"],
            histograms=[((name,), BOUNDS_S, tuple(slot.buckets), slot.took_ns / _NS) for name, slot in slots],
        )
        yield _family(
            "vcache_server_told", [(key, count) for key, count in sorted(self._counts.told.items())]
        )
        yield _family("vcache_server_connections", [((), self._connections())])
        yield from self._tiers()

    def _tiers(self) -> Iterator[Family]:
        store = self._vault.store
        tiers = [(tier.info.name, tier.counters()) for tier in getattr(store, "tiers", (store,))]
        # Two tiers of one kind are one series: their sum.
        names = sorted({name for name, _ in tiers})
        for metric, field in (
            ("vcache_tier_entries", "entries"),
            ("vcache_tier_bytes", "size_bytes"),
            ("vcache_tier_corrupt", "corrupt"),
            ("vcache_tier_evicted", "evicted"),
            ("vcache_tier_faults", "faults"),
        ):
            yield _family(
                metric,
                [
                    ((name,), sum(getattr(held, field) for kind, held in tiers if kind == name))
                    for name in names
                ],
            )
        yield from self._remotes()
        for tier in getattr(store, "tiers", (store,)):
            measure = getattr(tier, "disk_bytes", None)
            if measure is not None:
                yield _family("vcache_store_disk_bytes", [((), measure())])
                break

    def _remotes(self) -> Iterator[Family]:
        """What the guards of far tiers saw."""
        store = self._vault.store
        asked = [(tier.info.url, tier.telemetry()) for tier in getattr(store, "tiers", (store,))
                 if isinstance(tier, GuardedStore)]  # fmt: skip
        for metric, fields in _REMOTES.items():
            rows: list[tuple[tuple[str, ...], float]] = [
                ((url, word) if word else (url,), getattr(seen, field))
                for url, seen in asked
                for word, field in fields
            ]
            if rows:
                yield _family(metric, rows)


def _family(name: str, rows: list[tuple[tuple[str, ...], float]]) -> Family:
    return Family(METRICS[name], rows)
