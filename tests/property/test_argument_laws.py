"""Laws of identities, bindings and normal forms, on values, calls and code made up at random."""

from __future__ import annotations

import ast
import copy
import functools
import inspect
import math
import textwrap
import types
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vcache.fingerprint.arguments import bind, identity
from vcache.fingerprint.normal import normal_form

LEAVES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.binary(max_size=8),
    st.complex_numbers(), st.dates(), st.timedeltas(), st.decimals(allow_nan=False), st.fractions(), st.uuids(),
)  # fmt: skip
HASHABLE = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3).map(tuple), max_leaves=4)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(HASHABLE, inner, max_size=4),
        st.frozensets(HASHABLE, max_size=4),
    ),
    max_leaves=12,
)


def same(left: object, right: object) -> bool:
    """Equal in type and content, told without any encoding."""
    if type(left) is not type(right):
        return False
    if isinstance(left, float) and isinstance(right, float):
        both_nan = math.isnan(left) and math.isnan(right)
        return both_nan or (left == right and math.copysign(1, left) == math.copysign(1, right))
    if isinstance(left, complex) and isinstance(right, complex):
        return same(left.real, right.real) and same(left.imag, right.imag)
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return same(list(left.items()), list(right.items()))
    if isinstance(left, frozenset) and isinstance(right, frozenset):
        return _matched(list(left), list(right))
    return repr(left) == repr(right)


def _matched(left: list[object], right: list[object]) -> bool:
    """Has each item one counterpart, in whatever order?"""
    if len(left) != len(right):
        return False
    for item in left:
        found = next((at for at, other in enumerate(right) if same(item, other)), None)
        if found is None:
            return False
        del right[found]
    return True


@given(VALUES, VALUES)
def test_identities_are_equal_exactly_when_values_are(left: object, right: object) -> None:
    """Two values share an identity if and only if they are the same in type and content."""
    assert (identity(left) == identity(right)) == same(left, right)


@given(VALUES)
def test_a_copy_has_the_same_identity(value: object) -> None:
    """A deep copy is the same value."""
    assert identity(copy.deepcopy(value)) == identity(value)


@given(
    st.lists(st.tuples(HASHABLE, VALUES), max_size=6, unique_by=lambda pair: identity(pair[0])), st.randoms()
)
def test_the_order_of_a_dict_matters(pairs: list[tuple[object, object]], random: object) -> None:
    """A dict filled in another order is another value: code can see the order."""
    forwards = dict(pairs)
    backwards = {key: forwards[key] for key in reversed(list(forwards))}
    assert (identity(forwards) == identity(backwards)) == (len(forwards) < 2)


@given(VALUES, VALUES)
def test_containers_do_not_run_together(left: object, right: object) -> None:
    """Where one item ends and the next begins is part of an identity."""
    assert identity([left, right]) != identity([[left, right]])
    assert identity([left, right]) != identity([left, [right]])
    assert identity([left]) != identity((left,)) != identity([left, left])


def f0() -> None: ...
def f1(a: int, b: int = 2) -> None: ...
def f2(a: int, /, b: int = 2, *, c: int, d: int = 4) -> None: ...
def f3(a: int = 1, *args: int, **kwargs: int) -> None: ...
def f4(*args: int, a: int) -> None: ...


@functools.wraps(f1)
def f5(*args: int, **kwargs: int) -> None: ...


@given(
    st.sampled_from([f0, f1, f2, f3, f4, f5, functools.partial(f2, c=1)]),
    st.lists(st.integers(0, 3), max_size=4),
    st.dictionaries(st.sampled_from("abcdz"), st.integers(0, 3), max_size=4),
)
def test_binding_agrees_with_inspect(
    func: Callable[..., object], args: list[int], kwargs: dict[str, int]
) -> None:
    """A call binds as `inspect.signature` binds it, and is wrong when that says so."""
    try:
        bound = inspect.signature(func).bind(*args, **kwargs)
    except TypeError:
        if func is not f5:  # a wrapper may take what the function behind it does not
            with pytest.raises(TypeError):
                bind(func, tuple(args), kwargs)
        return
    bound.apply_defaults()
    assert bind(func, tuple(args), kwargs) == dict(bound.arguments)


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _codes(constant)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


@pytest.mark.parametrize(
    "name", ["textwrap", "inspect", "argparse", "asyncio.base_events", "_collections_abc"]
)
def test_formatting_leaves_no_trace_in_code(name: str) -> None:
    """Real modules written anew, without comments, docstrings or their layout, have the same normal forms."""
    import importlib

    source = inspect.getsource(importlib.import_module(name))
    rewritten = ast.unparse(_without_docstrings(ast.parse(source)))
    before = compile(source, "before.py", "exec", dont_inherit=True)
    after = compile(rewritten, "after.py", "exec", dont_inherit=True)
    pairs = list(zip(_codes(before), _codes(after), strict=True))
    assert len(pairs) > 15
    assert [old.co_qualname for old, new in pairs if normal_form(old) != normal_form(new)] == []


class _Mutation(ast.NodeTransformer):
    """Changes the one node with a certain number."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.count = 0

    def _is_it(self) -> bool:
        self.count += 1
        return self.count - 1 == self.target

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        self.generic_visit(node)
        swap = {ast.Eq: ast.NotEq, ast.Lt: ast.GtE, ast.In: ast.NotIn, ast.Is: ast.IsNot, ast.Gt: ast.LtE}
        if type(node.ops[0]) in swap and self._is_it():
            node.ops[0] = swap[type(node.ops[0])]()
        return node

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        self.generic_visit(node)
        if self._is_it():
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if type(node.value) is int and self._is_it():
            return ast.Constant(node.value + 7)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        if self._is_it():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        return node

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if node.args and self._is_it():
            node.args = node.args[:-1]
        return node


def test_a_changed_operator_or_constant_always_shows() -> None:
    """Every small change of what a real module does changes the normal form of what holds it."""
    tree = _without_docstrings(ast.parse(inspect.getsource(textwrap)))
    for node in ast.walk(tree):  # `if 0 and margin:` holds code that never runs, and is not compiled
        if isinstance(node, ast.FunctionDef) and node.name == "dedent":
            node.body = [each for each in node.body if not isinstance(each, ast.If)]
    counter = _Mutation(-1)
    counter.visit(copy.deepcopy(tree))
    original = compile(tree, "x", "exec", dont_inherit=True)
    assert counter.count > 100
    for target in range(0, counter.count, 3):
        changed = ast.fix_missing_locations(_Mutation(target).visit(copy.deepcopy(tree)))
        assert normal_form(compile(changed, "x", "exec", dont_inherit=True)) != normal_form(original)
