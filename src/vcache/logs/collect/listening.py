"""What listeners share: where lines go, how much a peer may send, and the handle of who asked for one."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from vcache.kit.data import NamedTuple
from vcache.kit.ratelimit import TokenBucket
from vcache.logs.collect.addresses import ListenAddress
from vcache.logs.collect.counts import Counts
from vcache.logs.collect.hub import Hub, Server
from vcache.logs.collect.limits import Limits
from vcache.logs.collect.queue import ParcelQueue

__all__ = ["Buckets", "Listening", "Room"]

_PEERS: Final = 4_096


class Room(NamedTuple):
    """What listeners share: where lines go, and how they count."""

    queue: ParcelQueue
    counts: Counts
    limits: Limits


class Listening:
    """Something that listens.

    Attributes:
        address: where; of a port 0 the one that was found.
    """

    def __init__(self, address: ListenAddress, hub: Hub, server: Server) -> None:
        self.address, self._hub, self._server = address, hub, server

    @property
    def port(self) -> int:
        """Of a network's address."""
        return self.address.port

    def close(self) -> None:
        """Listen no more; what came is handed in. The collector does so as well when it closes."""
        self._hub.dismiss(self._server)


class Buckets:
    """A token bucket for each peer, as far as there is a rate at all."""

    def __init__(self, limits: Limits) -> None:
        self._rate, self._burst = limits.rate_per_s, limits.burst or limits.rate_per_s
        self._by_peer: OrderedDict[object, TokenBucket] = OrderedDict()

    def of(self, peer: object) -> TokenBucket | None:
        """Its bucket; None where nobody counts."""
        if not self._rate:
            return None
        bucket = self._by_peer.get(peer)
        if bucket is None:
            bucket = self._by_peer[peer] = TokenBucket(self._rate, self._burst)
            if len(self._by_peer) > _PEERS:
                self._by_peer.popitem(last=False)
        else:
            self._by_peer.move_to_end(peer)
        return bucket
