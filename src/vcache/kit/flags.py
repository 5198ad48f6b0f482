"""Feature flags: a tier or a format is tried on a percentage of the machines.

Which machines those are depends on the names of flag and machine alone: a flag stays on where
it was on while its percentage rises, and two flags do not hit the same machines.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from vcache.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Flags"]


class Flags:
    """The flags of one machine.

    Args:
        percentages: flag name to 0 … 100; True is 100, False is 0.
        machine: whose flags; this machine when left out.

    Raises:
        UsageError: a percentage that is none.
    """

    __slots__ = ("_machine", "percentages")

    def __init__(self, percentages: Mapping[str, float], *, machine: str | None = None) -> None:
        for name, percent in percentages.items():
            if not isinstance(percent, (int, float)) or not 0 <= percent <= 100:
                raise UsageError(f"flag {name!r} is {percent!r}: give a percentage from 0 to 100")
        self.percentages: Mapping[str, float] = MappingProxyType(
            {
                name: 100 * percent if isinstance(percent, bool) else percent
                for name, percent in percentages.items()
            }
        )
        self._machine = machine

    def is_on(self, name: str) -> bool:
        """Whether a flag is on here; one that is not configured is off."""
        percent = self.percentages.get(name, 0)
        if percent in (0, 100):
            return percent == 100
        from vcache.kit.ids import machine_id, share_of  # 0.5 ms, for who has flags

        return share_of(name, self._machine or machine_id()) * 100 < percent

    def states(self) -> dict[str, bool]:
        """Every configured flag and whether it is on here."""
        return {name: self.is_on(name) for name in sorted(self.percentages)}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Flags):
            return NotImplemented
        return (self.percentages, self._machine) == (other.percentages, other._machine)

    def __hash__(self) -> int:
        return hash((frozenset(self.percentages.items()), self._machine))

    def __repr__(self) -> str:
        return f"Flags({dict(self.percentages)!r})"
