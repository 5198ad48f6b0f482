"""The text of a query: canonical, so that what is kept of an answer is found again. Pure.

`parse(unparse(query)) == query` for whatever `parse` makes. Times are absolute in it.
"""

from __future__ import annotations

import re
from typing import Final

from vcache.query.conditions import RESERVED
from vcache.query.levels import LEVELS, word_of
from vcache.query.lexer import quoted
from vcache.query.literals import TIMES, time_text
from vcache.query.pipeline import call_name
from vcache.query.syntax import (
    KNOWN,
    Aggregate,
    And,
    Call,
    Compare,
    Contains,
    Everything,
    Expression,
    Fields,
    Group,
    Has,
    In,
    Last,
    Limit,
    Not,
    Or,
    Query,
    Regex,
    Sort,
    Stage,
    Where,
    Words,
)

__all__ = ["condition_text", "unparse"]

_PLAIN: Final = re.compile(r"[^\W\d][\w.@/-]*|@[\w.@/-]+")
_OPERATORS: Final = RESERVED | {"contains", "asc", "desc"}
_LOOSE, _BOTH, _TIGHT = range(3)


def unparse(query: Query) -> str:
    """The text that `parse` makes this query of."""
    return " | ".join([condition_text(query.where), *map(_stage, query.stages)])


def condition_text(expression: Expression) -> str:
    """The text that `parse_condition` makes this condition of."""
    return _condition(expression, _LOOSE)


def _condition(expression: Expression, place: int) -> str:
    match expression:
        case Everything():
            return "*"
        case Or():
            text = " or ".join(_condition(item, _BOTH) for item in expression.items)
            return text if place == _LOOSE else f"({text})"
        case And():
            text = " and ".join(_condition(item, _TIGHT) for item in expression.items)
            return text if place <= _BOTH else f"({text})"
        case Not():
            return _negation(expression.item)
    return _leaf(expression, "")


def _negation(item: Expression) -> str:
    if isinstance(item, In | Contains):
        return _leaf(item, "not ")
    if isinstance(item, Regex):
        return _leaf(item, "!")
    return f"not {_condition(item, _TIGHT)}"


def _leaf(leaf: Compare | In | Contains | Regex | Words | Has, negation: str) -> str:
    field = _name(leaf.field)
    match leaf:
        case Compare():
            return f"{field} {leaf.operator} {_literal(leaf)}"
        case In():
            return f"{field} {negation}in ({', '.join(_value(leaf.field, value) for value in leaf.values)})"
        case Contains():
            return f"{field} {negation}contains {quoted(leaf.text)}"
        case Words():
            return quoted(leaf.text) if leaf.field == "message" else f"{field} : {quoted(leaf.text)}"
        case Has():
            return field
    # A backslash is the expression's own; only the quotes around it need one.
    return f"{field} {negation}~ " + '"' + leaf.pattern.replace('"', '\\"') + '"'


def _literal(leaf: Compare) -> str:
    value = leaf.value
    if leaf.field == "level" and leaf.operator in (">=", "<") and value in LEVELS.values():
        return word_of(int(value))
    return _value(leaf.field, value)


def _value(field: str, value: str | float | bool) -> str:
    if type(value) is str:
        return quoted(value)
    if type(value) is bool:
        return "true" if value else "false"
    return time_text(int(value)) if field in TIMES else repr(value)


def _name(name: str) -> str:
    is_plain = _PLAIN.fullmatch(name) is not None and name.lower() not in _OPERATORS
    if is_plain and (name[0] != "@" or name in KNOWN):
        return name
    return "`" + name.replace("`", "``") + "`"


def _names(names: tuple[str, ...]) -> str:
    return ", ".join(map(_name, names))


# --- steps -----------------------------------------------------------------------------------


def _stage(stage: Stage) -> str:
    match stage:
        case Aggregate():
            text = "stats " + ", ".join(map(_call, stage.calls))
            return text + (" by " + ", ".join(map(_group, stage.by)) if stage.by else "")
        case Sort():
            return "sort " + ", ".join(("-" if is_down else "") + _name(name) for name, is_down in stage.keys)
        case Limit():
            return f"limit {stage.count}"
        case Last():
            return f"last {stage.count}"
        case Fields():
            return f"fields {_names(stage.names)}"
        case Where():
            return f"where {condition_text(stage.condition)}"
    return f"dedup {_names(stage.names)}"


def _call(call: Call) -> str:
    field = _name(call.field) if call.field else ""
    text = f"p({call.percent:g}, {field})" if call.function == "p" else f"{call.function}({field})"
    return (
        text
        if call.name == call_name(call.function, call.field, call.percent)
        else f"{text} as {_name(call.name)}"
    )


def _group(group: Group) -> str:
    text = _name(group.field) + (f"({group.step_ns}ns)" if group.step_ns else "")
    return text if group.name == group.field else f"{text} as {_name(group.name)}"
