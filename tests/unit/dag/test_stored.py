"""A graph in columns is the graph that was stored, and a change leads to the same nodes as a full run."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.dag.trees import Toy, make, phony
from vcache.dag.node import Call, Command, Node, Pool, Retry, Script
from vcache.dag.stored import decode_node, encode_node, is_storable

_text = st.text(st.characters(codec=None), max_size=8) | st.just("caf\udce9\n")
_texts = st.lists(_text, max_size=3).map(tuple)
_count = st.integers(0, 5)
_retry = st.builds(
    Retry,
    times=_count,
    base_s=st.floats(0, 1e9),
    most_s=st.floats(0, 1e9),
    statuses=st.frozensets(st.integers(0, 255), max_size=3),
)
_command = st.builds(
    Command,
    argv=_texts,
    shell=_text,
    cwd=_text,
    env=st.dictionaries(_text, _text, max_size=3),
    heeds=_texts,
    tools=_texts,
    depfile=_text,
    deps=st.sampled_from(["", "gcc", "msvc"]),
    msvc_prefix=_text,
    rspfile=_text,
    rsp_content=_text,
    timeout_s=st.none() | st.floats(0, 1e9),
    retry=_retry,
    is_traced=st.booleans(),
)
_node = st.builds(
    Node,
    name=_text,
    outs=_texts,
    hidden_outs=_count,
    ins=_texts,
    hidden_ins=_count,
    after=_texts,
    checks=_texts,
    work=st.none() | _command,
    pool=_text,
    slots=_count,
    memory_bytes=st.integers(0, 1 << 50),
    rule=_text,
    text=_text,
    is_kept=st.booleans(),
    is_generator=st.booleans(),
    is_restat=st.booleans(),
    place=_text,
)


def _fields(node: Node) -> dict[str, object]:
    return {name: getattr(node, name) for name in Node.__slots__}


@given(_node)
def test_a_node_comes_back(node: Node) -> None:
    """every field of a node and its command, whatever it holds"""
    again = decode_node(encode_node(node))
    assert _fields(again) == _fields(node)
    assert all(type(value) is type(_fields(node)[name]) for name, value in _fields(again).items())
    if isinstance(node.work, Command):
        assert isinstance(again.work, Command)
        for name in Command.__slots__:
            assert type(getattr(again.work, name)) is type(getattr(node.work, name))


def test_python_bodies_are_not_stored() -> None:
    """nor nodes whose inputs stand in a dyndep file"""
    assert is_storable(make("a"))
    assert is_storable(phony("a"))
    assert not is_storable(Node(name="a", work=Script(lambda: None)))
    assert not is_storable(Node(name="a", work=Call(lambda: (1, False))))
    assert not is_storable(Node(name="a", work=Command(), dyndep="a.dd"))


def test_graph_is_what_was_stored(tmp_path: Path) -> None:
    """all of it is there until somebody asks what is affected"""
    toy = Toy(
        tmp_path, [make("lib/a", "s"), make("lib/b", "s"), make("c", "lib/a"), phony("p", "c", "lib/b")]
    )
    toy.whole.pools["link"] = Pool("link", 2, 1 << 30)  # type: ignore[index]
    (tmp_path / "s").write_text("s")
    assert toy.build()
    tree = toy.open()
    stored = tree.graph()
    assert stored is not None
    assert tree.graph() is stored
    assert stored.base == str(toy.base)
    assert stored.pools == {"link": Pool("link", 2, 1 << 30)}
    for number, node in enumerate(toy.whole.nodes):
        again = stored.producer(node.name)
        assert again is not None
        assert _fields(again) == {**_fields(node), "order": number}
        assert stored.producer(node.name) is again
        assert stored.with_dyndep(again) is again
    assert stored.producer("s") is None
    assert stored.producer("nothing") is None
    assert [node.name for node in stored.producers("lib/")] == ["lib/a", "lib/b"]
    found = stored.targets(("c", "./lib/../lib/a", "c"))
    assert found is not None
    assert [node.name for node in found] == ["c", "lib/a"]
    assert [node.name for node in found[1:]] == ["lib/a"]
    for words in (("s",), ("c", "nothing"), ("s^",)):
        assert stored.targets(words) is None
    defaults = stored.targets(())
    assert defaults is not None
    assert [node.name for node in defaults] == ["p"]


def test_checks_are_wanted_with_what_they_check(tmp_path: Path) -> None:
    """a change of a check's input leads to the check, though nobody reads it"""
    toy = Toy(tmp_path, [make("a", "s", checks=["v"]), make("v", "t"), make("w", "t")])
    toy.write("s", "s")
    toy.write("t", "t")
    assert toy.build()
    toy.add("t")
    assert toy.build("a")
    assert toy.ran == ["v"]


def test_what_only_waits_is_not_looked_at_but_kept_in_order(tmp_path: Path) -> None:
    """a new header is made before the compile that now wants it, by way of nodes that are up to date"""
    nodes = [
        make("gen", "g"),
        phony("stamp", after=["gen"]),
        make("mid", "m", after=["stamp"]),
        make("o", "c", after=["mid"]),
    ]
    toy = Toy(tmp_path, nodes)
    for name in "gmc":
        toy.write(name, name)
    assert toy.build()
    toy.add("g")
    assert toy.build()
    assert toy.looked_at == ["gen"]
    toy.add("g")
    toy.add("c")
    tree = toy.open()
    stored = tree.graph()
    assert stored is not None
    goals = stored.targets(())
    assert goals is not None
    assert [node.name for node in stored.affected(tree.changes(), goals)] == ["gen", "o"]
    mid = stored.producer("mid")
    assert mid is not None
    assert isinstance(mid.work, Script)
    assert mid.work.start() is None
    assert (mid.ins, mid.after) == ((), ("m", "stamp"))
    stamp = stored.producer("stamp")
    assert stamp is not None
    assert (stamp.work, stamp.after) == (None, ("gen",))
    assert toy.build()
    assert toy.ran == ["gen", "o"]


@pytest.mark.parametrize("exists", [False, True])
def test_force_is_always_out_of_date(tmp_path: Path, exists: bool) -> None:
    """a phony without inputs, while there is no such file; so is what makes no file"""
    toy = Toy(tmp_path, [make("a", "FORCE"), phony("FORCE"), make("b", "s")])
    toy.write("s", "s")
    if exists:
        toy.write("FORCE", "")
    assert toy.build()
    assert toy.is_clean() == exists
    assert toy.is_clean("b") is False
    assert toy.build("b")
    assert toy.is_clean("b")
    assert toy.build()
    assert toy.looked_at == ([] if exists else ["a"])


def test_a_file_that_a_phony_statement_only_allows_to_be_missing(tmp_path: Path) -> None:
    """as CMake says it of its inputs: it counts by content; missing, what reads it is out of date"""
    toy = Toy(tmp_path, [make("o", "s", "list"), phony("list"), phony("all", "o")])
    toy.write("s", "s")
    toy.write("list", "1")
    assert toy.build()
    assert toy.is_clean()
    toy.add("list")
    assert not toy.is_clean()
    assert toy.build()
    assert toy.ran == ["o"]
    assert toy.is_clean()
    (toy.base / "list").unlink()
    assert not toy.is_clean()
    assert toy.build()
    assert toy.ran == ["o"]
    assert not toy.is_clean()
    assert toy.build()
    assert toy.looked_at == ["o"]
    toy.write("list", "3")
    assert not toy.is_clean()
    assert toy.build()
    assert toy.ran == ["o"]
    assert toy.is_clean()
    assert toy.build()
    assert toy.looked_at == []


def _few(names: list[str]) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(names), unique=True, max_size=2)


@st.composite
def _graphs(draw: st.DrawFn) -> list[Node]:
    """Graphs over six sources, each node reading what stands before it."""
    paths = [f"s{number}" for number in range(4)]
    nodes = []
    for number in range(draw(st.integers(1, 7))):
        name = f"n{number}"
        ins = draw(st.lists(st.sampled_from(paths), unique=True, min_size=1, max_size=3))
        after = draw(st.lists(st.sampled_from(paths), unique=True, max_size=2))
        if draw(st.integers(0, 3)) == 0:
            nodes.append(phony(name, *ins, after=after))
        else:
            nodes.append(make(name, *ins, after=after, found=f"{name}.d" if draw(st.booleans()) else ""))
        paths.append(name)
    return nodes


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), _graphs())
def test_small_steps_lead_where_a_full_run_leads(data: st.DataObject, nodes: list[Node]) -> None:
    """after any edits, failures and goals: the files of a full run, and clean only if that ran nothing"""
    with tempfile.TemporaryDirectory() as directory:
        toy = Toy(Path(directory), nodes)
        sources = [f"s{number}" for number in range(4)]
        for name in sources:
            toy.write(name, name)
        made = [node.name for node in nodes if node.work is not None]
        found = {node.name: node.work.depfile for node in nodes if isinstance(node.work, Command)}
        for name in filter(None, found.values()):
            toy.write(name, " ".join(data.draw(_few(sources))))
        toy.build()
        for _ in range(data.draw(st.integers(1, 4))):
            for name in data.draw(_few(sources + made)):
                if (toy.base / name).exists():
                    toy.add(name)
            depfiles = [name for name in found.values() if name]
            has_new_includes = data.draw(st.booleans())
            if depfiles and has_new_includes:
                # Another include is an edit of the source as well: the first input tells.
                node = data.draw(st.sampled_from([node for node in nodes if found.get(node.name)]))
                names = data.draw(_few(sources))
                toy.write(found[node.name], " ".join(names))
                toy.add(data.draw(st.sampled_from(sources)))
                (toy.base / node.name).unlink(missing_ok=True)
            toy.fails = set(data.draw(st.lists(st.sampled_from([*made, "-"]), max_size=1)))
            goals = tuple(
                data.draw(st.lists(st.sampled_from([node.name for node in nodes]), unique=True, max_size=1))
            )
            was_clean = toy.is_clean(*goals)
            is_well = toy.build(*goals)
            assert not was_clean or (not toy.looked_at and is_well)
            if is_well:
                assert toy.is_clean(*goals)
                ran = toy.ran
                assert toy.build(*goals, anew=True)
                assert toy.ran == [], f"only the full run saw it, after {ran}"
