"""The jobserver of GNU make: one pool of slots for a whole tree of builds, ours among them.

Source: GNU make manual, "Sharing Job Slots with GNU make". It knows nothing of what the slots are for.
"""

from __future__ import annotations

from typing import Protocol

__all__ = ["Tokens"]


class Tokens(Protocol):
    """Slots beyond the first one, which every process has by being run."""

    @property
    def pass_fds(self) -> tuple[int, ...]:
        """Descriptors that a child has to inherit to share them."""
        ...

    def environment(self) -> dict[str, str]:
        """Variables that tell a child of them."""
        ...

    def acquire(self) -> bool:
        """Take a token if one is there. Never waits."""
        ...

    def release(self) -> None:
        """Give back one that was taken."""
        ...

    def fileno(self) -> int | None:
        """A descriptor that is readable when there may be a token; None where there is none."""
        ...

    def close(self) -> None:
        """Give back what is still held, and let go."""
        ...
