"""What a run's end waited for: the chain of nodes, each of which held up the next. Pure.

Not the longest path through the graph, which a run on few slots need not have met: from the node that
ended last, back to that of its inputs' makers that ended last, and so on. Inputs that were found while
a node ran, and what a Python body asked for, are not known here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcache.dag.events import Finished, Hit, Started
from vcache.kit.data import NamedTuple

if TYPE_CHECKING:
    from vcache.dag.events import Event
    from vcache.dag.node import Node

__all__ = ["Wait", "Waits"]


class Wait(NamedTuple):  # a dataclass takes four times as long to make, and as long again to fill
    """A node that ran or was restored, and from when to when."""

    node: Node
    began_ns: int
    ended_ns: int

    @property
    def took_ns(self) -> int:
        """How long that was."""
        return max(0, self.ended_ns - self.began_ns)


class Waits:
    """A listener that keeps when each node was made."""

    def __init__(self) -> None:
        self._began_ns: dict[Node, int] = {}
        self._made: list[Wait] = []

    def on_event(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, Started):
            self._began_ns.setdefault(event.node, event.at_ns)  # of the first try
        elif isinstance(event, Hit):
            self._made.append(Wait(event.node, event.at_ns - event.took_ns, event.at_ns))
        elif isinstance(event, Finished) and not event.will_retry:
            began_ns = self._began_ns.pop(event.node, event.at_ns - event.took_ns)
            self._made.append(Wait(event.node, began_ns, event.at_ns))

    def path(self) -> tuple[Wait, ...]:
        """The chain, first to last; empty when nothing was made."""
        if not self._made:
            return ()
        makers = {out: made for made in self._made for out in made.node.outs}
        makers.update((made.node.name, made) for made in self._made)
        chain = [max(self._made, key=lambda made: made.ended_ns)]
        seen = {chain[0].node}
        while True:
            node = chain[-1].node
            before = {
                maker.node: maker
                for path in (*node.ins, *node.after)
                if (maker := makers.get(path)) is not None
            }
            # A clock that was set back, or a wrong graph, must not send this round in circles.
            left = [maker for maker in before.values() if maker.node not in seen]
            if not left:
                return tuple(reversed(chain))
            chain.append(max(left, key=lambda made: made.ended_ns))
            seen.add(chain[-1].node)
