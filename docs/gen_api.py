"""The reference pages of the library, made from its docstrings. Writes nothing.

Every public name must have a docstring; one that has none stops the build.
"""

from __future__ import annotations

import enum
import inspect
import re
import textwrap
import typing
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType, MappingProxyType
from typing import Final

import vcache
from vcache import errors, testing
from vcache.aio import AsyncStep
from vcache.dag import events
from vcache.entry import Dep, Record, make_key, split_key
from vcache.fingerprint.inputs import Listing
from vcache.janitor import GcReport
from vcache.report import Fault, VerifyReport
from vcache.serialize import registry
from vcache.step import Explanation, Step, StepOptions
from vcache.store import base, url
from vcache.testing import powers
from vcache.testing.machine import store_machine
from vcache.testing.stores import StoreTests

__all__ = ["PAGES"]

_SECTIONS: Final = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Threads|Example):(.*)$")
_MADE: Final = "<!-- Made by docs/build.py from the docstrings: edit those. -->\n"
_TITLES: Final = {"Args": "Arguments"}
# Members that are there for the other rooms of vcache, not for its users.
_INNER: Final = frozenset(
    {
        "AsyncStep.of",
        "Step.find",
        "Step.identify",
        "Step.keep",
        "Step.keep_error",
        "Step.known_key",
        "Step.note_key",
        "Step.recorder",
        "Step.run",
        "StepOptions.making",
        "StepOptions.of",
        "Entry.decode",
        "Entry.encode",
        "Cache.key",
    }
)


def api() -> str:
    """docs/reference/api.md."""
    groups: dict[str, list[object]] = {
        "Caches": [vcache.Cache, vcache.AsyncCache],
        "Steps": [StepOptions, Step, AsyncStep, Explanation],
        "Inputs": [
            vcache.File, vcache.Glob, vcache.Dir, Listing, vcache.Env, vcache.Tool, vcache.Value, vcache.Ref,
            vcache.Absent,
        ],
        "Outcomes": [
            vcache.Hit, vcache.Miss, vcache.Reason, vcache.Entry, Dep, vcache.Stats, VerifyReport, Fault, GcReport,
        ],
        "Stores by address": [vcache.open_store],
    }  # fmt: skip
    shown = {getattr(thing, "__name__", "") for things in groups.values() for thing in things}
    shown |= set(errors.__all__)
    if missing := set(vcache.__all__) - shown:
        raise ValueError(f"docs/gen_api.py: no place for {', '.join(sorted(missing))}")
    parts = [
        _MADE,
        "# The Python interface\n",
        f"`import vcache` gives {_listed(vcache.__all__)}.\n",
        "The others named here are what these give back or take.\n",
        "Durations and sizes are written [like this](settings.md#durations-and-sizes).\n",
    ]
    for title, things in groups.items():
        parts += [f"## {title}\n", *(text for thing in things for text in _object(thing))]
    parts += ["## Errors\n", _errors()]
    return _joined(parts)


def stores() -> str:
    """docs/reference/plugins.md."""
    protocols = [getattr(base, name) for name in base.__all__]
    order = ["Store", "StoreInfo", "StoreCounters", *sorted(set(base.__all__))]
    protocols = [getattr(base, name) for name in dict.fromkeys(order)]
    contract = (base.__doc__ or "").partition("The contract, checked by")[2].partition("\n\n")[2]
    suites: list[object] = [StoreTests, *(getattr(powers, name) for name in powers.__all__), store_machine]
    suites.append(testing.LogStoreTests)
    tools = [
        testing.FakeClock,
        testing.FaultyStore,
        testing.flip_bit,
        testing.flip_stored,
        testing.make_record,
    ]
    parts = [
        _MADE,
        "# Plug-ins: stores and codecs\n",
        "How to write one: [a store](../how-to/write-a-store.md), [a codec](../how-to/write-a-codec.md).\n",
        "## The contract of a store\n",
        "Checked by `vcache.testing.StoreTests`. The module is `vcache.store.base`.\n",
        contract,
        *(text for thing in (*protocols, Record, make_key, split_key) for text in _object(thing)),
        "## Addresses\n",
        "The module is `vcache.store.url`.\n",
        _markdown(inspect.cleandoc(url.__doc__ or "").partition("\n\n")[2]),
        *(text for thing in (url.StoreUrl, url.Options) for text in _object(thing)),
        "## Codecs\n",
        "The module is `vcache.serialize.registry`; `Codec` and `register` are in `vcache.serialize` too.\n",
        *(
            text
            for thing in (registry.Codec, registry.register, registry.unregister)
            for text in _object(thing)
        ),
        "## The conformance suite\n",
        "The module is `vcache.testing`, for pytest; hypothesis is loaded by `vcache.testing.machine` only.\n",
        *(text for thing in suites for text in _suite(thing)),
        "## Tools for tests\n",
        *(text for thing in tools for text in _object(thing)),
    ]
    return _joined(parts)


def happenings() -> str:
    """docs/reference/events.md."""
    order = [
        "RunStarted", "Planned", "UpToDate", "Hit", "Missed", "Started", "Output", "Finished", "Skipped", "Noted",
        "RunEnded",
    ]  # fmt: skip
    if missing := set(events.__all__) - {*order, "Event", "INTERRUPTED", "Listener"}:
        raise ValueError(f"docs/gen_api.py: no place for {', '.join(sorted(missing))}")
    kinds = [getattr(events, name) for name in order]
    parts = [
        _MADE,
        "# The events of a run\n",
        "The module is `vcache.dag.events`. How to hear of them: [listen to a build](../how-to/listen-to-a-build.md).\n",
        _markdown((events.__doc__ or "").partition("\n\n")[2]),
        "`Event` is any of those below, in about the order in which they come.\n",
        *(text for thing in (events.Listener, *kinds) for text in _object(thing)),
    ]
    return _joined(parts)


PAGES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType(
    {
        "docs/reference/api.md": api,
        "docs/reference/events.md": happenings,
        "docs/reference/plugins.md": stores,
    }
)
"""What makes each page."""


# -- objects ------------------------------------------------------------------------------------


def _object(thing: object) -> Iterator[str]:
    """A class with its members, or a function."""
    if not isinstance(thing, type):
        assert isinstance(thing, FunctionType)
        yield f"### {thing.__name__}\n"
        yield _signature(thing, thing.__name__)
        yield _documented(thing, thing.__name__)
        return
    name = thing.__name__
    yield f"### {name}\n"
    if issubclass(thing, enum.Enum):
        yield _documented(thing, name)
        yield _members_of_enum(thing)
        return
    if getattr(thing, "_is_protocol", False):
        yield f"`{thing.__module__}`, a protocol.\n"
    elif name not in ("Step", "AsyncStep", "Explanation"):
        yield _class_signature(thing)
    yield _documented(thing, name)
    if getattr(thing, "_is_protocol", False):
        yield (
            "\n".join(
                f"- `{field}: {_plain_signature(str(kind))}`"
                for field, kind in inspect.get_annotations(thing).items()
            )
            + "\n"
        )
    for member, value in _members(thing):
        function = _function_of(value)
        if function is None:
            yield f"#### {name}.{member}\n"
            yield _documented(value, f"{name}.{member}")
        elif member != "__init__":
            prefix = "await " if inspect.iscoroutinefunction(function) else ""
            yield (
                f"#### {name}.{member.strip('_')}\n"
                if not member.startswith("__")
                else f"#### {_spelled(name, member)}\n"
            )
            if not member.startswith("__"):
                yield _signature(function, member, prefix=prefix)
            yield _documented(function, f"{name}.{member}")


_SPELLED: Final = {
    "__contains__": "name in {}",
    "__len__": "len({})",
    "__iter__": "iter({})",
    "__aiter__": "async for name in {}",
    "__call__": "{}(…)",
}


def _spelled(owner: str, member: str) -> str:
    word = {"Cache": "cache", "AsyncCache": "cache", "Step": "step", "AsyncStep": "await step"}.get(
        owner, owner
    )
    return f"`{_SPELLED[member].format(word)}`"


def _members(cls: type) -> Iterator[tuple[str, object]]:
    """The public members that a class defines itself, in the order of its source."""
    for name, value in vars(cls).items():
        is_public = not name.startswith("_") or name in _SPELLED
        is_code = isinstance(value, FunctionType | staticmethod | classmethod | property)
        if is_public and is_code and f"{cls.__name__}.{name}" not in _INNER and _doc(value):
            yield name, value
        elif (
            is_public
            and is_code
            and f"{cls.__name__}.{name}" not in _INNER
            and not _is_said_elsewhere(cls, name)
        ):
            raise ValueError(f"{cls.__module__}.{cls.__name__}.{name} has no docstring")


def _is_said_elsewhere(cls: type, name: str) -> bool:
    """A member that a protocol documents, or that says what its name says."""
    if getattr(cls, "_is_protocol", False) or name == "__call__":
        return True
    return any(hasattr(getattr(base, each, None), name) for each in base.__all__)


def _suite(thing: object) -> Iterator[str]:
    """A test class with the sentences that hold, or the maker of one."""
    if isinstance(thing, FunctionType):
        yield from _object(thing)
        return
    assert isinstance(thing, type)
    yield f"### {thing.__name__}\n"
    yield _documented(thing, thing.__name__)
    sentences = [_first_line(value) for name, value in vars(thing).items() if name.startswith("test_")]
    yield "\n".join(f"- {sentence}" for sentence in sentences) + "\n"


def _members_of_enum(cls: type[enum.Enum]) -> str:
    """Each member with the comment behind it."""
    source = inspect.getsource(cls)
    rows = []
    for member in cls:
        said = re.search(rf"^\s*{member.name} = [^#\n]*#\s*(.*)$", source, re.MULTILINE)
        if said is None:
            raise ValueError(f"{cls.__name__}.{member.name} has no comment that says what it means")
        rows.append(f"- `{cls.__name__}.{member.name}`: {said[1]}")
    return "\n".join(rows) + "\n"


def _errors() -> str:
    tree = (errors.__doc__ or "").partition("\n\n")[2]
    drawing, _, rest = tree.partition("\n\n")
    names = [getattr(errors, name) for name in errors.__all__]
    rows = [
        f"- `{cls.__name__}`: {_first_line(cls)}"
        for cls in sorted(names, key=lambda cls: cls.__mro__[::-1].__repr__())
    ]
    return (
        "All are in `vcache.errors`.\n\n```text\n"
        + textwrap.dedent(drawing)
        + "\n```\n\n"
        + rest.strip()
        + "\n\n"
        + "\n".join(rows)
        + "\n"
    )


# -- words --------------------------------------------------------------------------------------


def _function_of(value: object) -> Callable[..., object] | None:
    if isinstance(value, staticmethod | classmethod):
        value = value.__func__
    return value if isinstance(value, FunctionType) else None


def _doc(value: object) -> str:
    return inspect.cleandoc(getattr(value, "__doc__", None) or "")


def _documented(value: object, name: str) -> str:
    text = _doc(value)
    if not text or text.startswith(f"{name}("):  # a dataclass makes one of its own
        raise ValueError(f"{getattr(value, '__module__', '')}: {name} has no docstring")
    return _markdown(text)


def _first_line(value: object) -> str:
    text = _doc(value)
    if not text:
        raise ValueError(f"{getattr(value, '__qualname__', value)} has no docstring")
    return " ".join(text.partition("\n\n")[0].split())


def _markdown(text: str) -> str:
    """A docstring with its sections as lists."""
    out: list[str] = []
    section, inside = "", [""]
    for line in [*text.splitlines(), "Threads:"]:
        begins = _SECTIONS.match(line)
        if not begins:
            inside.append(line)
            continue
        out.append(_section(section, inside))
        section, inside = begins[1], [begins[2].strip()] if begins[2].strip() else []
    return "\n".join(part for part in out if part) + "\n"


def _section(title: str, lines: list[str]) -> str:
    body = textwrap.dedent("\n".join(lines)).strip()
    if not title or not body:
        return body + "\n" if body else ""
    head = f"**{_TITLES.get(title, title)}**"
    if title == "Example":
        return f"{head}\n\n```python no-run\n{body}\n```\n"
    if title in ("Threads", "Returns", "Yields"):
        return f"{head}: {' '.join(body.split())}\n"
    items = re.split(r"\n(?=\S)", body)
    rows = []
    for item in items:
        name, _, meaning = " ".join(item.split()).partition(": ")
        rows.append(f"- `{name}`: {meaning}" if meaning else f"- {name}")
    return f"{head}\n\n" + "\n".join(rows) + "\n"


def _signature(function: Callable[..., object], name: str, *, prefix: str = "") -> str:
    found = inspect.signature(function)
    kept = [each for each in found.parameters.values() if each.name not in ("self", "cls")]
    shown = found.replace(parameters=kept)
    if len(over := typing.get_overloads(function)) > 1 and name == "step":
        shown = inspect.signature(over[1])
        shown = shown.replace(parameters=[each for each in shown.parameters.values() if each.name != "self"])
    return f"```python no-run\n{_wrapped(prefix + name, shown)}\n```\n"


def _class_signature(cls: type) -> str:
    shown = inspect.signature(cls)
    kept = [each for each in shown.parameters.values() if each.name != "self"]
    return f"```python no-run\n{_wrapped(cls.__name__, shown.replace(parameters=kept, return_annotation=inspect.Signature.empty))}\n```\n"


def _wrapped(name: str, signature: inspect.Signature) -> str:
    """A signature on one line, or with one parameter a line where that is too long."""
    text = _plain_signature(str(signature))
    if len(name + text) <= 100:
        return name + text
    lines = [f"{name}("]
    is_keyword_only = False
    for each in signature.parameters.values():
        if each.kind is each.KEYWORD_ONLY and not is_keyword_only:
            is_keyword_only = True
            if not any(other.kind is other.VAR_POSITIONAL for other in signature.parameters.values()):
                lines.append("    *,")
        lines.append(f"    {_plain_signature(str(each))},")
    returns = (
        "" if signature.return_annotation is inspect.Signature.empty else f" -> {signature.return_annotation}"
    )
    return "\n".join([*lines, f"){_plain_signature(returns)}"])


def _plain_signature(text: str) -> str:
    """Without the quotes of late annotations, and with defaults as they are written."""
    text = re.sub(r"<factory>|mappingproxy\(\{\}\)", "…", text)
    text = re.sub(r"ForwardRef\('([^']*)'\)", r"\1", text)  # of a named tuple
    text = re.sub(r"<built-in function time_ns>", "time.time_ns", text)
    text = re.sub(r"<function system_clock at 0x[0-9a-f]+>", "system_clock", text)
    text = re.sub(r"<(\w+\.\w+): \d+>", r"\1", text)
    text = re.sub(r'(:|->) "([^"]*)"', r"\1 \2", text)
    return re.sub(r"(:|->) '([^']*)'", r"\1 \2", text)


def _joined(parts: list[str]) -> str:
    return re.sub(r"\n{3,}", "\n\n", "\n".join(parts)).rstrip() + "\n"


def _listed(names: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in names[:-1]) + f" and `{names[-1]}`"
