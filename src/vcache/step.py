"""Steps: functions whose calls are remembered by everything that goes into them.

It knows a small protocol of what it needs from a cache (`Keeper`), fingerprints, and nothing of
stores, graphs or commands.
"""

from __future__ import annotations

import functools
import logging
import marshal
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, fields
from types import FunctionType
from typing import (
    TYPE_CHECKING,
    Any,
    Concatenate,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Self,
    TypedDict,
    TypeVar,
    cast,
    get_args,
    overload,
)

from vcache import artifacts
from vcache.discovery import Discovery, spec_of
from vcache.entry import Dep, Key, make_key
from vcache.errors import FingerprintError, UsageError
from vcache.fingerprint import inputs
from vcache.fingerprint.arguments import bind, identity
from vcache.fingerprint.code import CodePrint, code_print
from vcache.fingerprint.depfile import parse_depfile
from vcache.fingerprint.manifest import Manifest
from vcache.fingerprint.values import TABLE, Walk
from vcache.making import Duration, Keeper, Making
from vcache.outcome import Hit, Miss, Reason
from vcache.valuables import ABSENT

if TYPE_CHECKING:
    from vcache.fingerprint.inputs import Spec
    from vcache.fingerprint.observe import Observer
    from vcache.fingerprint.traced import Recording

__all__ = ["BoundStep", "Call", "Explanation", "Options", "Step", "StepOptions", "refuse_unfit"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

RECIPES: Final = ".recipes"
"""The namespace in which the manifest of each result is kept, for `why`."""

_MEMO_MOST: Final = 4096
# Calls with longer arguments are found by their fingerprint: a table of them would fill the memory.
_MEMO_LONGEST_BYTES: Final = 4096
_log = logging.getLogger("vcache.step")


class Options(TypedDict, total=False):
    """The keywords of `Cache.step`: see `StepOptions`."""

    ttl: Duration | None
    stale: Duration | None
    errors: Duration | None
    tags: Iterable[str]
    version: str | int
    ignore: Iterable[str]
    inputs: Iterable[Spec | str | os.PathLike[str]] | Literal["traced"]
    outs: Iterable[str]
    depfile: str | None
    code: Literal["deep", "shallow", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepOptions:
    """How calls of a step are remembered.

    Attributes:
        ttl, stale, errors: durations, as in `Cache.get_or_compute`. Exceptions of a step whose inputs
            show only after a run ("traced", depfile) are not kept.
        tags: labels to invalidate by.
        version: part of the key: change it to forget what was remembered.
        ignore: names of parameters that do not count.
        inputs: what the step reads beside its arguments; or "traced" to record what it opens.
        outs: files the step makes, below the root; `{parameter}` stands for an argument.
        depfile: a Makefile rule the step writes, naming what it read.
        code: how much of the function's code counts: "deep", "shallow" or "none".
    """

    ttl: Duration | None = None
    stale: Duration | None = None
    errors: Duration | None = None
    tags: Iterable[str] = ()
    version: str | int = ""
    ignore: Iterable[str] = ()
    inputs: Iterable[Spec | str | os.PathLike[str]] | Literal["traced"] = ()
    outs: Iterable[str] = ()
    depfile: str | None = None
    code: Literal["deep", "shallow", "none"] = "deep"

    @classmethod
    def of(cls, options: Options) -> StepOptions:
        """The options given by name.

        Raises:
            UsageError: an unknown name (with the nearest known ones), or a value that does not fit.
        """
        known = [option.name for option in fields(cls)]
        for name in options:
            if name not in known:
                from vcache.kit.names import nearest

                hint = nearest(name, known)
                meant = f": did you mean {hint[0]!r}?" if hint else f": there are {', '.join(known)}"
                raise UsageError(f"step has no option {name!r}{meant}")
        chosen = cls(**options)
        if chosen.code not in ("deep", "shallow", "none"):
            raise UsageError(f'code={chosen.code!r}: give "deep", "shallow" or "none"')
        if isinstance(chosen.inputs, str) and chosen.inputs != "traced":
            raise UsageError(f'inputs={chosen.inputs!r}: give a list such as [File("a.h")], or "traced"')
        if isinstance(chosen.outs, str | os.PathLike):
            raise UsageError(f"outs={chosen.outs!r}: give a list such as [{os.fspath(chosen.outs)!r}]")
        if chosen.stale is not None and tuple(chosen.outs):
            raise UsageError(
                f"stale={chosen.stale!r} with outs: a run in the background would write files that the "
                "caller is reading; leave one of them out"
            )
        return chosen

    def making(self) -> Making:
        """The part that decides how a value is kept."""
        tags = frozenset([self.tags] if isinstance(self.tags, str) else self.tags)
        return Making.of(ttl=self.ttl, stale=self.stale, errors=self.errors, tags=tags)


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a step, identified.

    Attributes:
        base: everything known before it runs.
        outs: names of the files it is to make, below the root.
        depfile: where it writes what it read, below the root.
    """

    base: Manifest
    outs: tuple[str, ...] = ()
    depfile: str | None = None


@dataclass(frozen=True, slots=True)
class Explanation:
    """What goes into the key of a call, in words.

    Attributes:
        key: the name under which the result is kept.
        lines: one per input.
        unseen: what the fingerprint cannot see.
    """

    key: str
    lines: tuple[str, ...]
    unseen: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        unseen = [f"not seen: {what}" for what in self.unseen]
        return "\n".join([self.key, *(f"  {line}" for line in (*self.lines, *unseen))])


class Step(Generic[P, R]):
    """A function with a memory. Made by `Cache.step`.

    Threads: as the cache it belongs to.
    """

    def __init__(self, keeper: Keeper, function: Callable[P, R], options: StepOptions) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options
        self._keeper = keeper
        self._making = options.making()
        self._ignore = tuple([options.ignore] if isinstance(options.ignore, str) else options.ignore)
        self._outs = tuple(map(os.fspath, options.outs))
        self._is_traced = options.inputs == "traced"
        self._specs = () if isinstance(options.inputs, str) else inputs.together(options.inputs)
        self._discovers = self._is_traced or options.depfile is not None
        # Calls whose key depends on nothing but code and plain arguments are found by these alone.
        self._is_plain = not (self._specs or self._outs or self._discovers or self._ignore)
        # … and of these alone with a single look: what is late is looked at twice.
        self._is_quick = self._is_plain and not self._making.stale_ns
        self._known: _Known | None = None
        # Of functions and classes that were passed as arguments, while they live.
        self._prints: weakref.WeakKeyDictionary[Callable[..., object], CodePrint] = (
            weakref.WeakKeyDictionary()
        )
        self.name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The remembered result, or what the function gives now.

        A result that no codec takes is returned and not kept, with a warning in the log: a program
        does the same with and without its cache.

        Raises:
            Exception: what the function raised now, or then.
            UsageError: it did not make a file that `outs` or `depfile` promises.
        """
        known = self._known
        if known is not None and self._is_quick:
            key = known.find(args, kwargs)
            if key is not None and known.print.is_current():
                value = self._keeper.get_key(key, ABSENT)
                if value is not ABSENT:
                    return cast("R", value)
                return self._slowly(args, kwargs, is_looked_up=True)
        return self._slowly(args, kwargs)

    def known_key(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Key | None:
        """The key of a call that was made before in this process and only needs its arguments."""
        known = self._known
        key = None if known is None or not self._is_plain else known.find(args, kwargs)
        return key if key is not None and known is not None and known.print.is_current() else None

    @overload
    def __get__(self, instance: None, owner: type) -> Self: ...

    @overload
    def __get__(
        self: Step[Concatenate[S, Q], T], instance: S, owner: type | None = None
    ) -> BoundStep[Q, T]: ...

    def __get__(self, instance: object, owner: type | None = None) -> object:
        return self if instance is None else BoundStep(cast("Step[..., R]", self), instance)

    def __reduce__(self) -> str:
        # By name, as functions are pickled: a worker process imports the module and has the step.
        return cast("str", self.__dict__["__qualname__"])

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """The name under which this call's result is, or would be, kept."""
        return self._name_of(self._manifest(self.identify(args, kwargs)))

    def is_cached(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """Whether a call would be answered without running."""
        return bool(self.find(self.identify(args, kwargs), peek=True))

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """What goes into the key of a call, and what the fingerprint cannot see."""
        call = self.identify(args, kwargs)
        full = self._manifest(call)
        return Explanation(
            self._name_of(full), tuple(str(line) for line in full.describe()), self._current().print.opaque
        )

    def invalidate(self) -> int:
        """Forget all remembered calls, whatever their code was; how many."""
        prefix = self._keeper.key(f"{self.name}:")
        keys = [entry.key for entry in self._keeper.entries_under(prefix)]
        return sum(map(self._keeper.delete_key, keys))

    def bypass(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """What the function gives now; nothing is looked up or kept."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<step {self.name}>"

    # -- the parts of a call, for `aio` too ----------------------------------------------------

    def identify(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Call:
        """Everything that identifies a call before it runs.

        Raises:
            TypeError: the function does not take these arguments.
            FingerprintError: an argument or input that has no identity, by name.
        """
        bound = bind(self.function, args, kwargs, ignore=self._ignore)
        deps: list[Dep] = [Dep("step", self.name, b"1"), *self._current().print.deps]
        if self.options.version != "":
            deps.append(Dep("version", "version", identity(self.options.version, where="version")))
        observer = self._keeper.observer
        for name, value in bound.items():
            deps += self._argument(name, value)
        deps += observer.observe_all(self._specs)
        words = _Words(bound) if self._outs or self.options.depfile else None
        outs = tuple(self._output(template, words) for template in self._outs) if words is not None else ()
        depfile = None
        if self.options.depfile is not None and words is not None:
            depfile = self._output(self.options.depfile, words)
        deps += [Dep("out", name, b"") for name in outs]
        return Call(Manifest(deps), outs, depfile)

    def find(self, call: Call, *, peek: bool = False) -> Hit | Miss:
        """The remembered result of a call, with its files put back unless only peeking.

        One that `stale` still allows is found where there is none within its time to live; its
        `is_expired` says so.
        """
        return self._find(call, peek=peek)[0]

    def _find(self, call: Call, *, peek: bool = False) -> tuple[Hit | Miss, Manifest]:
        miss = Miss(Reason.ABSENT, "no result is kept for these inputs")
        late: tuple[Hit, Manifest] | None = None
        for manifest in Discovery(self._keeper, call.base).candidates() if self._discovers else (call.base,):
            found = self._keeper.peek_key(self._key_of(manifest))
            if isinstance(found, Miss):
                # Why the latest result serves no more says most.
                miss = found if miss.reason is Reason.ABSENT else miss
            elif found.is_expired:
                late = late or (found, manifest)
            elif not call.outs or found.entry.is_error:
                return found, manifest
            elif self._has_files(found, peek=peek):
                return Hit(found.tier, found.entry, _value_of(found)), manifest
            else:
                miss = Miss(Reason.ABSENT, "files that the result stands for are not kept", entry=found.entry)
        if late is not None and self._making.stale_ns:
            return late
        if late is not None:
            miss = Miss(Reason.EXPIRED, "its time to live ended", entry=late[0].entry)
        return miss, call.base

    def _run(
        self,
        call: Call,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        outer: Recording | None,
        *,
        keeps_errors: bool = True,
    ) -> R:
        """Run the function and keep its result."""
        started = time.perf_counter_ns()
        began_ns = self.begin()
        try:
            with _heard_by(outer), self.recorder() as recording:
                value = self.function(*args, **kwargs)  # type: ignore[arg-type]
        except Exception as error:
            if keeps_errors:
                self.keep_error(call, error, time.perf_counter_ns() - started)
            raise
        manifest = self.keep(call, value, time.perf_counter_ns() - started, began_ns, recording)
        self._tell(outer, call, manifest)
        return value

    def begin(self) -> int:
        """The time of files from which on a change counts as made while the step ran.

        A step with a depfile waits until that clock, which ticks some 4 ms behind the fine one, has
        passed the present: what was written just before, stamped by the one or the other (Linux
        6.13: multigrain timestamps), could not be told from what is written just after.
        """
        now_ns = time.time_ns()
        deadline = time.monotonic() + _LAG_MOST_S
        while self.options.depfile is not None and file_time_ns() <= now_ns and time.monotonic() < deadline:
            time.sleep(_TICK_PART_S)
        return file_time_ns()

    def recorder(self) -> AbstractContextManager[Recording | None]:
        """What to run the function in: it records what is opened, where that was asked for."""
        if not self._is_traced:
            return nullcontext()
        from vcache.fingerprint.traced import record  # installs an audit hook on use

        return record(ignore=self._private_places())

    def keep_error(self, call: Call, error: Exception, cost_ns: int) -> None:
        """Keep an exception, if `errors` says so; not where the inputs show only after a run."""
        if not self._discovers:
            self._making.keep_error(self._keeper, self._key_of(call.base), error, cost_ns=cost_ns)

    def keep(
        self, call: Call, value: object, cost_ns: int, began_ns: int, recording: Recording | None = None
    ) -> Manifest | None:
        """Keep a result with its files, unless an input changed while the function ran.

        Returns:
            All that the result depends on; None if nobody knows.
        """
        keeper, manifest = self._keeper, call.base
        changed = keeper.observer.first_stale(call.base)
        if changed is not None:
            _log.warning("%s: %s %s while it ran: not kept", self.name, changed.dep.name, changed.reason)
            return None
        if self._discovers:
            found = self._discovered(call, began_ns, recording)
            if found is None:
                return None
            manifest = Discovery(keeper, call.base).learn(found)
        content = value
        if call.outs:
            files = artifacts.collect(keeper, call.outs)
            if files is None:
                return manifest
            content = {"value": value, "files": files}
        key = self._key_of(manifest)
        if self._making.keep(keeper, key, content, cost_ns=cost_ns):
            self._keep_recipe(key, manifest)
        return manifest

    # -- inside ------------------------------------------------------------------------------

    def note_key(self, args: tuple[object, ...], kwargs: Mapping[str, object], call: Call) -> None:
        """Let `known_key` know the key of a call."""
        known = self._known
        if known is not None and self._is_plain:
            known.note(args, kwargs, self._key_of(call.base))

    def _slowly(
        self, args: tuple[object, ...], kwargs: Mapping[str, object], *, is_looked_up: bool = False
    ) -> R:
        if self._keeper.is_disabled:
            return self.function(*args, **kwargs)  # type: ignore[arg-type]
        outer = _listening()
        if outer is None:
            return self._answer(args, kwargs, None, is_looked_up=is_looked_up)
        from vcache.fingerprint.traced import paused  # it is loaded: somebody listens

        # What the cache itself opens is no input of the step around this one.
        with paused():
            return self._answer(args, kwargs, outer, is_looked_up=is_looked_up)

    def _answer(
        self,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        outer: Recording | None,
        *,
        is_looked_up: bool,
    ) -> R:
        keeper, making = self._keeper, self._making
        call = self.identify(args, kwargs)
        key = self._key_of(call.base)
        if self._is_plain and self._known is not None:
            self._known.note(args, kwargs, key)
        if self._is_quick:
            # `find` without an `Entry`: a quarter of the time.
            value = ABSENT if is_looked_up else keeper.get_key(key, ABSENT)
            if value is not ABSENT:
                self._tell(outer, call, call.base)
                return cast("R", value)
        else:
            found, manifest = self._find(call)
            keeper.count(found)
            if isinstance(found, Hit):
                if found.is_expired:
                    making.refresh(keeper, key, lambda: self._refresh(call, args, kwargs))
                self._tell(outer, call, manifest)
                return cast("R", found.use())
        lead = keeper.flight.lead(key)
        with nullcontext() if lead is None else lead:
            found, manifest = self._find(call)
            if isinstance(found, Hit) and not found.is_expired:
                self._tell(outer, call, manifest)
                return cast("R", found.use())
            return self._run(call, args, kwargs, outer)

    def _refresh(self, call: Call, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        """Make the result of a call anew, unless somebody just did."""
        found = self.find(call)
        if isinstance(found, Miss) or found.is_expired:
            # An exception is not kept: it would take the place of the value that still serves.
            self._run(call, args, kwargs, None, keeps_errors=False)

    def _tell(self, outer: Recording | None, call: Call, manifest: Manifest | None) -> None:
        """Let the traced step around this one depend on what this result depends on.

        A hit opens nothing, so that there is nothing to see.
        """
        if outer is None:
            return
        root = self._keeper.root
        if manifest is None:
            outer.doubt(f"an input of {self.name}")
        for dep in manifest or ():
            spec = spec_of(dep.kind, dep.name, root)
            if spec is not None:
                outer.adopt(spec)
        for name in call.outs:
            outer.changed(os.path.join(root, name))

    def _current(self) -> _Known:
        known = self._known
        if known is None or not known.print.is_current():
            # A new table with the new print: whoever still fills the old one harms nobody.
            code = code_print(self.function, level=self.options.code, project_root=self._keeper.root)
            known = self._known = _Known(code)
        return known

    def _argument(self, name: str, value: object) -> Iterator[Dep]:
        """An argument's identity; a spec in it, however deep, stands for what it names."""
        walk = _SpecWalk(self._keeper.observer, self._code_of)
        try:
            known = identity(value, where=f"argument {name!r}", walk=walk)
        except FingerprintError as error:
            raise FingerprintError(f"{self.name}: {error}") from None
        yield Dep("arg", name, known, note=_shown(value))
        yield from walk.found

    def _code_of(self, function: Callable[..., object]) -> tuple[Dep, ...]:
        """What a function or class that was passed as an argument runs."""
        known = self._prints.get(function)
        if known is None or not known.is_current():
            known = code_print(function, level=self.options.code, project_root=self._keeper.root)
            self._prints[function] = known
        return known.deps

    def _output(self, template: str, words: _Words) -> str:
        try:
            path = template.format_map(words)
        except (KeyError, AttributeError, IndexError, ValueError) as error:
            raise UsageError(
                f"{self.name}: the output {template!r} asks for {error}: it may use {', '.join(words.known)}"
            ) from None
        return artifacts.output_name(self._keeper.root, path)

    def _manifest(self, call: Call) -> Manifest:
        """The full manifest where earlier runs tell it, else what is known beforehand."""
        if not self._discovers:
            return call.base
        candidates = list(Discovery(self._keeper, call.base).candidates())
        for manifest in candidates:
            if self._keeper.peek_key(self._key_of(manifest)):
                return manifest
        return candidates[0] if candidates else call.base

    def _name_of(self, manifest: Manifest) -> str:
        return f"{self.name}:{manifest.fingerprint().hex()}"

    def _key_of(self, manifest: Manifest) -> Key:
        return self._keeper.key(self._name_of(manifest))

    def _has_files(self, hit: Hit, *, peek: bool) -> bool:
        """Whether the files of a result are where they belong; they are put there unless only peeking."""
        content = hit.value
        if not isinstance(content, dict) or not isinstance(content.get("files"), list):
            return False
        return (artifacts.can_put_back if peek else artifacts.put_back)(self._keeper, content["files"])

    def _private_places(self) -> tuple[str, ...]:
        directory = getattr(self._keeper, "directory", None)
        return () if directory is None else (f"{directory}{os.sep}",)

    def _discovered(self, call: Call, began_ns: int, recording: Recording | None) -> list[Dep] | None:
        """What a run read beside what was declared; None when that is not certain."""
        if recording is not None:
            deps = list(recording.deps(self._keeper.observer))
            if recording.unstable:
                _log.warning("%s: %s changed while it ran: not kept", self.name, min(recording.unstable))
                return None
            return deps
        assert call.depfile is not None
        path = os.path.join(self._keeper.root, call.depfile)
        try:
            with open(path, encoding="utf-8", errors="surrogateescape") as file:
                names = parse_depfile(file.read())
        except FileNotFoundError:
            raise UsageError(
                f"{self.name}: the depfile {call.depfile!r} was promised and not written"
            ) from None
        except UsageError as error:
            raise UsageError(f"{self.name}: {call.depfile!r}: {error}") from None
        found: list[Dep] = []
        root = self._keeper.root
        outs = {os.path.join(root, name) for name in call.outs}
        for name in names:
            full = self._named_in_depfile(name)
            if full in outs:
                continue
            try:
                # Whatever changes content changes ctime as well; an mtime may be set to anything.
                if os.stat(full).st_ctime_ns >= began_ns:
                    _log.warning("%s: %s changed while it ran: not kept", self.name, name)
                    return None
                found += self._keeper.observer.observe(inputs.File(full))
            except (OSError, FingerprintError) as error:
                _log.warning("%s: its depfile names %s: %s: not kept", self.name, name, error)
                return None
        return found

    def _named_in_depfile(self, name: str) -> str:
        """A name is relative to where the compiler ran: here, or in the project's root."""
        here = os.path.abspath(name)
        return here if os.path.exists(here) else os.path.normpath(os.path.join(self._keeper.root, name))

    def _keep_recipe(self, key: Key, manifest: Manifest) -> None:
        """Remember what went into a result, so that `why` can compare."""
        name = f"{self.name}:{key[-64:].decode()}"
        self._keeper.put_key(make_key(name, namespace=RECIPES), manifest.to_bytes())


class BoundStep(Generic[P, R]):
    """A step as a method of one object: the object is its first argument."""

    __slots__ = ("__self__", "_step")

    def __init__(self, step: Step[..., R], instance: object) -> None:
        self._step = step
        self.__self__ = instance

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """The remembered result, or what the method gives now; see `Step.__call__`."""
        return self._step(self.__self__, *args, **kwargs)

    def key(self, *args: P.args, **kwargs: P.kwargs) -> str:
        """As `Step.key`."""
        return self._step.key(self.__self__, *args, **kwargs)

    def is_cached(self, *args: P.args, **kwargs: P.kwargs) -> bool:
        """As `Step.is_cached`."""
        return self._step.is_cached(self.__self__, *args, **kwargs)

    def explain(self, *args: P.args, **kwargs: P.kwargs) -> Explanation:
        """As `Step.explain`."""
        return self._step.explain(self.__self__, *args, **kwargs)

    def bypass(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """As `Step.bypass`."""
        return self._step.bypass(self.__self__, *args, **kwargs)

    def __getattr__(self, name: str) -> object:
        # What does not depend on the object, such as `name` and `__doc__`.
        return getattr(self._step, name)

    def __repr__(self) -> str:
        return f"<step {self._step.name} of {self.__self__!r:.80}>"


class _Known:
    """The calls of this process that need no more than their arguments to be found, for one state of the code.

    Told apart by type and value with `marshal`, which is never stored nor loaded: canonical
    identities are `fingerprint.arguments`' work.
    """

    __slots__ = ("_keys", "_keys_of_bytes", "print")

    def __init__(self, code: CodePrint) -> None:
        self.print = code
        self._keys: dict[bytes, Key] = {}
        # `marshal` writes a bytearray, an array or a view as if it were bytes.
        self._keys_of_bytes: dict[bytes, Key] = {}

    def find(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> Key | None:
        """The key of a call, if it is known."""
        try:
            raw = marshal.dumps((args, kwargs), 2)  # type: ignore[arg-type]  # tried on whatever comes
        except ValueError:
            return None
        key = self._keys.get(raw)
        if key is None and self._keys_of_bytes:
            key = self._keys_of_bytes.get(raw)
            if key is not None and not _is_of(_WITH_BYTES, (args, kwargs)):
                return None
        return key

    def note(self, args: tuple[object, ...], kwargs: Mapping[str, object], key: Key) -> None:
        """Let a call be found."""
        if not _is_of(_WITH_BYTES, (args, kwargs)):
            return
        try:
            raw = marshal.dumps((args, kwargs), 2)  # type: ignore[arg-type]
        except ValueError:
            return
        keys = self._keys if _is_of(_WITHOUT_BYTES, (args, kwargs)) else self._keys_of_bytes
        if len(raw) <= _MEMO_LONGEST_BYTES:
            if len(keys) >= _MEMO_MOST:
                keys.clear()
            keys[raw] = key


_WITHOUT_BYTES: Final = frozenset({type(None), bool, int, float, complex, str})
_WITH_BYTES: Final = _WITHOUT_BYTES | {bytes}


def _is_of(leaves: frozenset[type], value: object) -> bool:
    """Whether a value is made of plain containers and of leaves of these types only."""
    kind = type(value)
    if kind in leaves:
        return True
    if kind is dict:
        items = cast("dict[object, object]", value)
        return all(_is_of(leaves, key) and _is_of(leaves, each) for key, each in items.items())
    if kind in (tuple, list, set, frozenset):
        return all(_is_of(leaves, each) for each in cast("Iterable[object]", value))
    return False


def _listening() -> Recording | None:
    """The recording of a traced step around this call, if there is one."""
    traced = sys.modules.get("vcache.fingerprint.traced")  # loaded by the first traced step only
    return None if traced is None else cast("Recording | None", traced.current())


def _heard_by(outer: Recording | None) -> AbstractContextManager[object]:
    """Where a recording goes on that was paused."""
    if outer is None:
        return nullcontext()
    from vcache.fingerprint.traced import resumed

    return resumed(outer)


class _SpecWalk(Walk):
    """Encodes arguments with specs by their portable names, and collects what they stand for."""

    __slots__ = ("code_of", "found", "observer")

    def __init__(
        self, observer: Observer, code_of: Callable[[Callable[..., object]], tuple[Dep, ...]]
    ) -> None:
        super().__init__(_ENCODERS)
        self.observer, self.code_of = observer, code_of
        self.found: list[Dep] = []


def _encode_spec(spec: Spec, walk: Walk) -> bytes:
    """Which spec it is; what it names is observed beside, for a change to be laid at its door."""
    assert isinstance(walk, _SpecWalk)
    deps = walk.observer.observe(spec)
    walk.found += deps
    # The first names the spec itself; the rest are the files that a pattern matches.
    first = deps[0]
    # Of two values of one name that change places, only their order changes.
    content = first.identity if first.kind == "value" else b""
    return walk.encode(("spec", type(spec).__name__, first.kind, first.name, content))


def _encode_code(value: Callable[..., object], walk: Walk) -> bytes:
    """A function or class by itself; what it reaches is observed beside."""
    assert isinstance(walk, _SpecWalk)
    walk.found += walk.code_of(value)
    return TABLE[type(value)](value, walk)


_ENCODERS: Final[dict[type, Callable[[Any, Walk], bytes]]] = {
    **TABLE,
    **dict.fromkeys(get_args(inputs.Spec), _encode_spec),
    **dict.fromkeys((FunctionType, type), _encode_code),
}


class _Words(dict[str, object]):
    """A step's arguments as its output templates may use them."""

    def __init__(self, bound: Mapping[str, object]) -> None:
        super().__init__(bound)
        self.known = sorted(bound)


def _value_of(hit: Hit) -> object:
    content = hit.value
    return content["value"] if isinstance(content, dict) and "files" in content else content


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def refuse_unfit(function: object) -> None:
    """Let through what a step can remember.

    Raises:
        UsageError: not callable, a coroutine function (which needs `AsyncCache.step`), or a
            generator function.
    """
    if not callable(function):
        raise UsageError(f"a step wraps a function, not {function!r:.80}: write options as keywords")
    flags = getattr(getattr(function, "__code__", None), "co_flags", 0)
    if flags & (_COROUTINE | _ASYNC_GENERATOR):
        raise UsageError(f"{function!r} is async: use AsyncCache.step")
    if flags & _GENERATOR:
        raise UsageError(f"{function!r} is a generator: return a list, which can be kept")


def file_time_ns() -> int:
    """The time as file systems stamp it: by a coarse clock, up to 10 ms behind the fine one."""
    return time.clock_gettime_ns(_FILE_CLOCK)


_TICK_PART_S: Final = 0.0005
_LAG_MOST_S: Final = 0.05  # a clock that was set back is not waited for
_FILE_CLOCK: Final = getattr(
    time, "CLOCK_REALTIME_COARSE", 5 if sys.platform == "linux" else time.CLOCK_REALTIME
)

_GENERATOR: Final = 0x20  # inspect.CO_GENERATOR and its kin, without importing inspect
_COROUTINE: Final = 0x80
_ASYNC_GENERATOR: Final = 0x200
