"""Conditions made of conditions, each as plain as it can be: nothing nested that need not be. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from vcache.query.syntax import And, Everything, Expression, Not, Or

__all__ = ["all_of", "any_of", "none_of"]


def all_of(items: Sequence[Expression]) -> Expression:
    """What all of them mean."""
    said = [item for item in items if not isinstance(item, Everything)]
    return _joined(said, And, And) if said else Everything()


def any_of(items: Sequence[Expression]) -> Expression:
    """What any of them means."""
    if any(isinstance(item, Everything) for item in items):
        return Everything()
    return _joined(items, Or, Or)


def none_of(item: Expression) -> Expression:
    """Whatever is not meant by it."""
    return item.item if isinstance(item, Not) else Not(item)


def _joined(items: Sequence[Expression], kind: type[And | Or], make: Callable[..., Expression]) -> Expression:
    flat: list[Expression] = []
    for item in items:
        flat.extend(item.items if isinstance(item, kind) else (item,))
    return flat[0] if len(flat) == 1 else make(tuple(flat))
