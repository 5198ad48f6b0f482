"""The bounded queue between receivers and the thread that commits. It must not know what is in a parcel."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from vcache.logs.collect.limits import Limits
from vcache.logs.collect.parcels import Parcel

__all__ = ["ParcelQueue"]


class ParcelQueue:
    """First in, first out. What was taken counts until it is released: the store's part is in the bound.

    Threads: any number put, one takes.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()  # guards all below
        self._has_parcels = threading.Condition(self._lock)
        self._has_room = threading.Condition(self._lock)
        self._parcels: deque[Parcel] = deque()
        self._count = self._size_bytes = 0
        self._on_room: list[Callable[[], object]] = []
        self._is_wanted = False  # somebody was turned away, and is to be called
        self._is_closed = False

    @property
    def waiting(self) -> tuple[int, int]:
        """Records and bytes that are in, or with who takes them."""
        with self._lock:
            return self._count, self._size_bytes

    def call_on_room(self, wake: Callable[[], object]) -> None:
        """Have somebody called, from any thread, when there is room again after `offer` said no."""
        with self._lock:
            self._on_room.append(wake)

    def offer(self, parcel: Parcel) -> bool:
        """Put it in if there is room; whether there was. Never waits."""
        with self._lock:
            if not self._fits(parcel):
                self._is_wanted = True
                return False
            self._put(parcel)
            return True

    def put(self, parcel: Parcel, timeout_s: float | None = None) -> bool:
        """Put it in as soon as there is room; False when there was none in time, or it is closed."""
        end_s = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            while not self._fits(parcel):
                left_s = None if end_s is None else end_s - time.monotonic()
                if self._is_closed or (left_s is not None and left_s <= 0):
                    return False
                self._has_room.wait(left_s)
            self._put(parcel)
            return True

    def take(self, timeout_s: float) -> list[Parcel]:
        """All that is there, up to a batch; waits so long for the first of it. To be released afterwards."""
        most, most_bytes = self._limits.batch_records, self._limits.batch_bytes
        with self._lock:
            if not self._parcels and not self._is_closed:
                self._has_parcels.wait(timeout_s)
            taken: list[Parcel] = []
            while self._parcels and most > 0 and most_bytes > 0:
                first = self._parcels[0]
                if taken and (first.count > most or first.size_bytes > most_bytes):
                    break
                most -= first.count
                most_bytes -= first.size_bytes
                taken.append(self._parcels.popleft())
            return taken

    def release(self, taken: list[Parcel]) -> None:
        """What was taken is dealt with: there is room for others."""
        with self._lock:
            for parcel in taken:
                self._count -= parcel.count
                self._size_bytes -= parcel.size_bytes
            self._has_room.notify_all()
            is_wanted = self._is_wanted
            self._is_wanted = False
            wakes = list(self._on_room) if is_wanted else []
        for wake in wakes:
            wake()

    def close(self) -> None:
        """Nothing more is let in; what is there can be taken."""
        with self._lock:
            self._is_closed = True
            self._has_parcels.notify_all()
            self._has_room.notify_all()

    def _fits(self, parcel: Parcel) -> bool:
        if self._is_closed:
            return False
        # Alone, anything fits: what is larger than the bound could never be kept otherwise.
        return not self._count or (
            self._count + parcel.count <= self._limits.queue_records
            and self._size_bytes + parcel.size_bytes <= self._limits.queue_bytes
        )

    def _put(self, parcel: Parcel) -> None:
        self._parcels.append(parcel)
        self._count += parcel.count
        self._size_bytes += parcel.size_bytes
        self._has_parcels.notify()
