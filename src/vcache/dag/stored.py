"""The graph of the last run in columns: a node becomes an object when it is asked for.

It knows what a graph is made of, and the numbers of things; when a file changes, `tree` says so.
Kept are graphs whose nodes run commands: a Python body is not written down.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Final, Protocol, cast, overload

from vcache.dag.graph import reach
from vcache.dag.node import Command, Node, Pool, Retry, Script
from vcache.dag.rows import Rows
from vcache.errors import DecodeError

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from vcache.dag.things import Things

__all__ = ["Nodes", "Recall", "StoredGraph", "decode_node", "encode_node", "is_storable", "store_graph"]

_PHONY: Final = 1
_LISTS: Final = ("outs", "ins", "after", "checks")


class Recall(Protocol):
    """What a graph asks of the tree's memory, by numbers."""

    @property
    def things(self) -> Things: ...

    def open_ends(self) -> Iterable[int]:
        """The nodes that are not known to be what they were, whatever has changed."""
        ...

    def generated(self) -> Collection[int]:
        """The things that somebody makes and somebody found."""
        ...

    def finders(self, things: Collection[int]) -> Mapping[int, Sequence[int]]:
        """By thing, the nodes that found it."""
        ...

    def watchers(self, changed: Collection[str]) -> Iterable[int]:
        """The nodes that heeded a changed variable, tool or listing."""
        ...


# --- one node ------------------------------------------------------------------------------------


def is_storable(node: Node) -> bool:
    """Whether a node is known before it runs, and can be written down."""
    return (node.work is None or isinstance(node.work, Command)) and not node.dyndep


def encode_node(node: Node) -> bytes:
    """A node as JSON: values by position, so that it is as short as it is quick."""
    flags = node.is_kept | node.is_generator << 1 | node.is_restat << 2
    work = _encode_command(node.work) if isinstance(node.work, Command) else None
    row = (
        node.name, node.outs, node.hidden_outs, node.ins, node.hidden_ins, node.after, node.checks,
        work, node.pool, node.slots, node.memory_bytes, node.rule, node.text, flags, node.place,
    )  # fmt: skip
    return _dump(row)


def _encode_command(command: Command) -> list[object]:
    retry = command.retry
    return [
        command.argv, command.shell, command.cwd, dict(command.env), command.heeds, command.tools,
        command.depfile, command.deps, command.msvc_prefix, command.rspfile, command.rsp_content,
        command.timeout_s, None if retry == _ONCE else [
            retry.times, retry.base_s, retry.most_s, sorted(retry.statuses)
        ], command.is_traced,
    ]  # fmt: skip


def decode_node(record: Buffer, *, order: int = 0) -> Node:
    """The node that was encoded; its order is its number."""
    (
        name, outs, hidden_outs, ins, hidden_ins, after, checks, work, pool, slots, memory, rule, text,
        flags, place,
    ) = json.loads(bytes(record))  # fmt: skip
    return Node(
        name=name,
        outs=tuple(outs),
        hidden_outs=hidden_outs,
        ins=tuple(ins),
        hidden_ins=hidden_ins,
        after=tuple(after),
        checks=tuple(checks),
        work=None if work is None else _decode_command(work),
        pool=pool,
        slots=slots,
        memory_bytes=memory,
        rule=rule,
        text=text,
        is_kept=bool(flags & 1),
        is_generator=bool(flags & 2),
        is_restat=bool(flags & 4),
        place=place,
        order=order,
    )


def _decode_command(row: Sequence[object]) -> Command:
    argv, shell, cwd, env, heeds, tools, depfile, deps, prefix, rspfile, rsp, timeout_s, retry, is_traced = (
        row
    )
    return Command(
        argv=tuple(cast("list[str]", argv)),
        shell=cast("str", shell),
        cwd=cast("str", cwd),
        env=cast("dict[str, str]", env),
        heeds=tuple(cast("list[str]", heeds)),
        tools=tuple(cast("list[str]", tools)),
        depfile=cast("str", depfile),
        deps=cast("str", deps),  # type: ignore[arg-type]
        msvc_prefix=cast("str", prefix),
        rspfile=cast("str", rspfile),
        rsp_content=cast("str", rsp),
        timeout_s=cast("float | None", timeout_s),
        retry=_ONCE if retry is None else _decode_retry(cast("list[object]", retry)),
        is_traced=bool(is_traced),
    )


def _decode_retry(row: Sequence[object]) -> Retry:
    times, base_s, most_s, statuses = row
    return Retry(
        cast("int", times),
        cast("float", base_s),
        cast("float", most_s),
        frozenset(cast("list[int]", statuses)),
    )


_ONCE: Final = Retry()
_dump_text: Final = json.JSONEncoder(separators=(",", ":")).encode


def _dump(value: object) -> bytes:
    return _dump_text(value).encode("ascii")


# --- all of them ---------------------------------------------------------------------------------


def store_graph(
    nodes: Sequence[Node],
    *,
    things: Things,
    pools: Mapping[str, Pool],
    defaults: Sequence[str],
) -> dict[str, Buffer]:
    """The sections of a graph file.

    Args:
        nodes: numbered by their order.
        things: numbers the paths; new ones are added.
        defaults: paths that are made when nobody says what.
    """
    sections: dict[str, Buffer] = {}
    by_list: dict[str, tuple[Sequence[int], array[int]]] = {}
    number = _Numbers(things)
    for name in _LISTS:
        lists = [getattr(node, name) for node in nodes]
        offsets = list(accumulate(map(len, lists), initial=0))
        members = array("I", map(number.of, chain.from_iterable(lists)))
        sections[f"{name}-at"], sections[name] = array("I", offsets).tobytes(), members.tobytes()
        by_list[name] = offsets, members
    for name, of in (("uses", "ins"), ("waits", "after")):
        sections[f"{name}-at"], sections[name] = _turned(*by_list[of], len(things))
    makers = array("i", [-1]) * len(things)
    begins, made = by_list["outs"]
    for node in range(len(nodes)):
        for thing in made[begins[node] : begins[node + 1]]:
            makers[thing] = node
    records = list(map(encode_node, nodes))
    sections["makers"] = makers.tobytes()
    sections["kinds"] = bytes([_PHONY if node.work is None else 0 for node in nodes])
    sections["rows-at"] = array("I", accumulate(map(len, records), initial=0)).tobytes()
    sections["rows"] = b"".join(records)
    asked = (things.find(path) for path in defaults)
    goals = dict.fromkeys(makers[thing] for thing in asked if thing is not None)
    sections["goals"] = array("I", (goal for goal in goals if goal >= 0)).tobytes()
    sections["meta"] = _dump(
        {"pools": [[pool.name, pool.slots, pool.memory_bytes] for pool in pools.values()]}
    )
    return sections


class _Numbers:
    """Numbers of paths, each text looked at once."""

    def __init__(self, things: Things) -> None:
        self._things = things
        self._known: dict[str, int] = {}

    def of(self, path: str) -> int:
        known = self._known.get(path)
        if known is None:
            known = self._known[path] = self._things.number(path)
        return known


def _turned(offsets: Sequence[int], members: array[int], count: int) -> tuple[bytes, bytes]:
    """From lists of things by node, the lists of nodes by thing."""
    sizes = [0] * (count + 1)
    for thing in members:
        sizes[thing + 1] += 1
    begins = list(accumulate(sizes))
    places = begins[:]
    turned = array("I", bytes(4 * len(members)))
    for node in range(len(offsets) - 1):
        for at in range(offsets[node], offsets[node + 1]):
            thing = members[at]
            turned[places[thing]] = node
            places[thing] += 1
    return array("I", begins).tobytes(), turned.tobytes()


class _Lists:
    """Lists of numbers, by number."""

    __slots__ = ("_at", "all")

    def __init__(self, section: Callable[[str], memoryview | None], name: str) -> None:
        self._at = _need(section, f"{name}-at").cast("I")
        self.all = _need(section, name).cast("I")

    def __getitem__(self, number: int) -> list[int]:
        # A thing that was found since has no place here: nothing declared it.
        if number + 1 >= len(self._at):
            return []
        return self.all[self._at[number] : self._at[number + 1]].tolist()


def _need(section: Callable[[str], memoryview | None], name: str) -> memoryview:
    found = section(name)
    if found is None:
        raise DecodeError(f"the stored graph has no sound section {name!r}")
    return found


class Nodes(Sequence[Node]):
    """Nodes by number, each made an object when it is read."""

    __slots__ = ("_graph", "numbers")

    def __init__(self, graph: StoredGraph, numbers: Sequence[int]) -> None:
        self._graph = graph
        self.numbers = numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, at: int) -> Node: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Node]: ...
    def __getitem__(self, at: int | slice) -> Node | Sequence[Node]:
        if isinstance(at, slice):
            return Nodes(self._graph, self.numbers[at])
        return self._graph.node(self.numbers[at])


class StoredGraph:
    """The graph of the last run. Until `affected` was asked, all of it is there.

    Args:
        base: the absolute directory that paths are relative to.
        section: gives the sections of the file.
        recall: the tree's memory.

    Raises:
        DecodeError: a section is missing or damaged.
    """

    def __init__(self, base: str, section: Callable[[str], memoryview | None], recall: Recall) -> None:
        self._base, self._recall = base, recall
        self._outs, self._ins = _Lists(section, "outs"), _Lists(section, "ins")
        self._after, self._checks = _Lists(section, "after"), _Lists(section, "checks")
        self._uses, self._waits = _Lists(section, "uses"), _Lists(section, "waits")
        self._makers = _need(section, "makers").cast("i")
        self._kinds = bytes(_need(section, "kinds"))
        self._rows = Rows(_need(section, "rows-at"), _need(section, "rows"))
        meta = json.loads(bytes(_need(section, "meta")))
        self._pools = {name: Pool(name, slots, memory) for name, slots, memory in meta["pools"]}
        self._goals = _need(section, "goals").cast("I").tolist()
        self._nodes: dict[int, Node] = {}
        self._cone: set[int] | None = None
        self._order: set[int] = set()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def base(self) -> str:
        """The absolute directory that paths are relative to."""
        return self._base

    @property
    def pools(self) -> Mapping[str, Pool]:
        """Pools by name."""
        return self._pools

    def node(self, number: int) -> Node:
        """A node by its number."""
        known = self._nodes.get(number)
        if known is None:
            known = decode_node(self._rows[number], order=number)
            if number in self._order and known.work is not None:
                known = _waiting(known)
            self._nodes[number] = known
        return known

    def is_phony(self, number: int) -> bool:
        """Whether a node has no work."""
        return bool(self._kinds[number] & _PHONY)

    def lists(self, number: int) -> tuple[list[int], list[int], list[int], list[int]]:
        """The things of a node: what it makes, reads, waits for and checks."""
        return self._outs[number], self._ins[number], self._after[number], self._checks[number]

    def maker(self, thing: int) -> int:
        """The number of the node that makes a thing; -1 for none."""
        return self._makers[thing] if thing < len(self._makers) else -1

    def consumers(self, thing: int) -> list[int]:
        """The numbers of the nodes that declare a thing as an input that counts."""
        return self._uses[thing]

    # -- what the runner asks ----------------------------------------------------------------------

    def producer(self, path: str) -> Node | None:
        """The node that makes a path; None for a source, and for what is known to be up to date."""
        thing = self._recall.things.find(path)
        number = -1 if thing is None else self.maker(thing)
        if number < 0:
            return None
        # A phony name is no file: who reads it must learn what it stands for.
        if (
            self._cone is None
            or number in self._cone
            or number in self._order
            or self._kinds[number] & _PHONY
        ):
            return self.node(number)
        return None

    def producers(self, path: str) -> tuple[Node, ...]:
        """The nodes, of those there are, that make files below a directory path."""
        prefix = self._recall.things.short(path).rstrip(b"/") + b"/"
        paths = self._recall.things.paths
        numbers = range(len(self)) if self._cone is None else sorted(self._cone | self._order)
        return tuple(
            self.node(number)
            for number in numbers
            if any(paths[thing].startswith(prefix) for thing in self._outs[number])
        )

    def with_dyndep(self, node: Node) -> Node:
        """The node itself: graphs with dyndep files are not stored."""
        return node

    # -- what is to be done ------------------------------------------------------------------------

    def targets(self, words: Sequence[str]) -> Nodes | None:
        """The nodes behind words of a command line; None if one of them is not simply made here."""
        if not words:
            return Nodes(self, self._goals)
        numbers = []
        for word in words:
            thing = None if word[-1:] == "^" else self._recall.things.find(word)
            number = -1 if thing is None else self.maker(thing)
            if number < 0:
                return None
            numbers.append(number)
        return Nodes(self, list(dict.fromkeys(numbers)))

    def affected(self, changed: Collection[str], goals: Nodes) -> list[Node]:
        """The nodes that a run has to look at, and only they are there from then on.

        Args:
            changed: what `Tree.changes` gave.
            goals: what `targets` gave.
        """
        self._nodes.clear()
        self._order = set()
        look = _Reach(self, self._recall, self._checks.all)
        self._cone, self._order = look.affected(changed, goals.numbers)
        return [self.node(number) for number in sorted(self._cone)]

    def waiters(self, thing: int) -> list[int]:
        """The numbers of the nodes that only wait for a thing."""
        return self._waits[thing]


def _waiting(node: Node) -> Node:
    """In place of a node that is up to date and stands between two that are not: it only waits."""
    return Node(
        name=node.name,
        outs=node.outs,
        after=tuple(dict.fromkeys((*node.ins, *node.after))),
        work=Script(_nothing),
        rule=node.rule,
        place=node.place,
    )


def _nothing() -> None:
    return None


class _Reach:
    """One look at what changes lead to."""

    def __init__(self, graph: StoredGraph, recall: Recall, checked: Sequence[int]) -> None:
        self._graph, self._recall = graph, recall
        self._finders: Mapping[int, Sequence[int]] = {}
        self._checkers = self._find_checkers() if len(checked) else {}

    def affected(self, changed: Collection[str], goals: Sequence[int]) -> tuple[set[int], set[int]]:
        """The nodes to look at, and those that only stand between two of them."""
        graph, things = self._graph, self._recall.things
        numbers = {thing for path in changed if path[:1] == "/" and (thing := things.find(path)) is not None}
        self._finders = self._recall.finders(numbers.union(self._recall.generated()))
        seeds = {node for node in self._recall.open_ends() if node < len(graph)}
        seeds.update(node for node in self._recall.watchers(changed) if node < len(graph))
        for thing in numbers:
            seeds.update(self._readers(thing))
            if graph.maker(thing) >= 0:
                seeds.add(graph.maker(thing))
        below = reach(seeds, self._all_after)
        wanted = self._up(below.intersection(goals), below)
        cone = reach(seeds & wanted, self._counting_after) & wanted
        return cone, self._up(cone, wanted) - cone

    def _readers(self, thing: int) -> Iterator[int]:
        yield from self._graph.consumers(thing)
        for node in self._finders.get(thing, ()):
            if node < len(self._graph):
                yield node

    def _counting_after(self, node: int) -> Iterator[int]:
        for thing in self._graph.lists(node)[0]:
            yield from self._readers(thing)

    def _all_after(self, node: int) -> Iterator[int]:
        for thing in self._graph.lists(node)[0]:
            yield from self._readers(thing)
            yield from self._graph.waiters(thing)
        yield from self._checkers.get(node, ())

    def _up(self, starts: Iterable[int], within: set[int]) -> set[int]:
        """What some nodes need, by way of nodes within a set."""
        graph = self._graph
        reached = set(starts)
        rest = list(reached)
        while rest:
            _, ins, after, checks = graph.lists(rest.pop())
            for thing in (*ins, *after, *checks):
                node = graph.maker(thing)
                if node >= 0 and node in within and node not in reached:
                    reached.add(node)
                    rest.append(node)
        return reached

    def _find_checkers(self) -> dict[int, list[int]]:
        """By node, those that ask for it as a check."""
        found: dict[int, list[int]] = {}
        for node in range(len(self._graph)):
            for thing in self._graph.lists(node)[3]:
                found.setdefault(self._graph.maker(thing), []).append(node)
        return found
