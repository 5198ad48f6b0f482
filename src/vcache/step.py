"""Steps: functions whose calls are remembered by everything that goes into them.

It knows a small protocol of what it needs from a cache (`Keeper`), fingerprints, and nothing of
stores, graphs or commands.
"""

from __future__ import annotations

import functools
import os
import sys
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import (
    TYPE_CHECKING,
    Concatenate,
    Final,
    Generic,
    ParamSpec,
    Self,
    TypeVar,
    cast,
    overload,
)

from vcache import artifacts, recipes, unseen
from vcache.calls import Call, Explanation, Known, Words, argument, require_names
from vcache.discovery import Discovery, begin, named_by_depfile, seen_key, spec_of
from vcache.entry import Dep, Key, make_key
from vcache.errors import FingerprintError, UsageError
from vcache.fingerprint import inputs
from vcache.fingerprint.arguments import bind, identity
from vcache.fingerprint.code import CodePrint, code_print
from vcache.fingerprint.manifest import Manifest, title
from vcache.kit.logs import logger
from vcache.options import Options, StepOptions
from vcache.outcome import Hit, Miss, Reason
from vcache.valuables import ABSENT

if TYPE_CHECKING:
    from vcache.fingerprint.traced import Recording
    from vcache.making import Keeper

__all__ = ["BoundStep", "Call", "Explanation", "Options", "Step", "StepOptions", "aside", "refuse_unfit"]

P = ParamSpec("P")
Q = ParamSpec("Q")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")

_log = logger("vcache.step")


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
        templates = [*self._outs, *([] if options.depfile is None else [options.depfile])]
        require_names(function, ignore=self._ignore, templates=templates)
        self._is_traced = options.inputs == "traced"
        self._specs = () if isinstance(options.inputs, str) else inputs.together(options.inputs)
        self._discovers = self._is_traced or options.depfile is not None
        # Calls whose key depends on nothing but code and plain arguments are found by these alone.
        self._is_plain = not (self._specs or self._outs or self._discovers or self._ignore)
        # … and of these alone with a single look: what is late is looked at twice.
        self._is_quick = self._is_plain and not self._making.stale_ns
        self._known: Known | None = None
        # Of functions and classes that were passed as arguments, while they live.
        self._prints: weakref.WeakKeyDictionary[Callable[..., object], CodePrint] = (
            weakref.WeakKeyDictionary()
        )
        self.name = f"{function.__module__}.{getattr(function, '__qualname__', type(function).__name__)}"
        self._unseen = unseen.Unseen(self.name)

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
        hidden = (*self._current().print.opaque, *self._unseen_by(full))
        return Explanation(self._name_of(full), tuple(str(line) for line in full.describe()), hidden)

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
        outs, depfile = self._outputs(bound)
        deps += [Dep("out", name, b"") for name in outs]
        return Call(Manifest(deps), outs, depfile)

    def find(self, call: Call, *, peek: bool = False, outer: Recording | None = None) -> Hit | Miss:
        """The remembered result of a call, with its files put back unless only peeking.

        One that `stale` still allows is found where there is none within its time to live; its
        `is_expired` says so.

        Args:
            outer: the recording around the call, as `aside` gives it: what a hit depends on, it does.
        """
        found, manifest = self._find(call, peek=peek)
        if outer is not None and isinstance(found, Hit):
            self._tell(outer, call, manifest)
        return found

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
            elif self._has_files(found, call.outs, peek=peek):
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
        self.keep(call, value, time.perf_counter_ns() - started, began_ns, recording, outer=outer)
        return value

    def lead_key(self, call: Call) -> Key:
        """What callers of one call agree on: one of them leads it."""
        return self._key_of(call.base)

    def begin(self) -> int:
        """The time of files from which on a change counts as made while the step ran."""
        return begin(waits=self.options.depfile is not None)

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
        self,
        call: Call,
        value: object,
        cost_ns: int,
        began_ns: int,
        recording: Recording | None = None,
        *,
        outer: Recording | None = None,
    ) -> None:
        """Keep a result with its files, unless an input changed while the function ran.

        Args:
            cost_ns, began_ns, recording: how long it ran, `begin()`, and what `recorder()` gave.
            outer: as in `find`.
        """
        manifest = self._keep(call, value, cost_ns, began_ns, recording)
        if outer is not None:
            self._tell(outer, call, manifest)

    def _keep(
        self, call: Call, value: object, cost_ns: int, began_ns: int, recording: Recording | None
    ) -> Manifest | None:
        """All that a result depends on, which is kept; None if nobody knows."""
        keeper, manifest = self._keeper, call.base
        changed = keeper.observer.first_stale(call.base)
        if changed is not None:
            what = title(changed.dep.kind, changed.dep.name)
            _log.warning("%s: %s %s while it ran: not kept", self.name, what, changed.reason)
            return None
        if self._discovers:
            found = self._discovered(call, began_ns, recording)
            if isinstance(found, str):
                _log.warning("%s: %s: not kept", self.name, found)
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
            self._keep_recipe(key, manifest, call.base, () if recording is None else recording.blind)
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
        with aside() as outer:
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
                if outer is not None:
                    self._tell(outer, call, call.base)
                return cast("R", value)
        else:
            found = self.find(call, outer=outer)
            keeper.count(found)
            if isinstance(found, Hit):
                if found.is_expired:
                    making.refresh(keeper, key, lambda: self._refresh(call, args, kwargs))
                return cast("R", found.use())
        lead = keeper.flight.lead(key)
        with nullcontext() if lead is None else lead:
            found = self.find(call, outer=outer)
            if isinstance(found, Hit) and not found.is_expired:
                return cast("R", found.use())
            return self._run(call, args, kwargs, outer)

    def _refresh(self, call: Call, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        """Make the result of a call anew, unless somebody just did."""
        found = self.find(call)
        if isinstance(found, Miss) or found.is_expired:
            # An exception is not kept: it would take the place of the value that still serves.
            self._run(call, args, kwargs, None, keeps_errors=False)

    def _tell(self, outer: Recording, call: Call, manifest: Manifest | None) -> None:
        """Let the traced step around this one depend on what this result depends on.

        A hit opens nothing, so that there is nothing to see.
        """
        root = self._keeper.root
        if manifest is None:
            outer.doubt(f"an input of {self.name}")
        for word in self._unseen_by(manifest) if manifest is not None else ():
            outer.hid(word)
        for dep in manifest or ():
            spec = spec_of(dep.kind, dep.name, root)
            if spec is not None:
                outer.adopt(spec)
        for name in call.outs:
            outer.changed(os.path.join(root, name))

    def _current(self) -> Known:
        known = self._known
        if known is None or not known.print.is_current():
            # A new table with the new print: whoever still fills the old one harms nobody.
            code = code_print(self.function, level=self.options.code, project_root=self._keeper.root)
            known = self._known = Known(code)
        return known

    def _argument(self, name: str, value: object) -> list[Dep]:
        try:
            return argument(name, value, self._keeper.observer, self._code_of)
        except FingerprintError as error:
            raise FingerprintError(f"{self.name}: {error}") from None

    def _code_of(self, function: Callable[..., object]) -> tuple[Dep, ...]:
        """What a function or class that was passed as an argument runs."""
        known = self._prints.get(function)
        if known is None or not known.is_current():
            known = code_print(function, level=self.options.code, project_root=self._keeper.root)
            self._prints[function] = known
        return known.deps

    def _outputs(self, bound: Mapping[str, object]) -> tuple[tuple[str, ...], str | None]:
        """The names of outputs and depfile below the root, for these arguments."""
        depfile = self.options.depfile
        if not (self._outs or depfile):
            return (), None
        words, root = Words(bound), self._keeper.root
        try:
            outs = tuple(artifacts.output_name(root, words.fill(template)) for template in self._outs)
            return outs, None if depfile is None else artifacts.output_name(root, words.fill(depfile))
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from None

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

    def _has_files(self, hit: Hit, outs: tuple[str, ...], *, peek: bool) -> bool:
        """Whether the files of a result are where they belong; they are put there unless only peeking."""
        content = hit.value
        if not isinstance(content, dict) or not isinstance(content.get("files"), list):
            return False
        return (artifacts.can_put_back if peek else artifacts.put_back)(self._keeper, content["files"], outs)

    def _private_places(self) -> tuple[str, ...]:
        directory = getattr(self._keeper, "directory", None)
        return () if directory is None else (f"{directory}{os.sep}",)

    def _discovered(self, call: Call, began_ns: int, recording: Recording | None) -> list[Dep] | str:
        """What a run read beside what was declared, or why that is not certain."""
        if recording is not None:
            deps = list(recording.deps(self._keeper.observer))
            self._unseen.note(recording.blind)
            return f"{min(recording.unstable)} changed while it ran" if recording.unstable else deps
        assert call.depfile is not None
        try:
            return named_by_depfile(self._keeper, call.depfile, outs=call.outs, began_ns=began_ns)
        except UsageError as error:
            raise UsageError(f"{self.name}: {error}") from None

    def _keep_recipe(self, key: Key, manifest: Manifest, base: Manifest, blind: Iterable[str]) -> None:
        """Remember what went into a result, so that `why` can compare."""
        name = f"{self.name}:{key[-64:].decode()}"
        recipe = make_key(name, namespace=recipes.NAMESPACE)
        leading = recipes.led_by(seen_key(base.fingerprint())) if self._discovers else {}
        self._keeper.put_key(recipe, manifest.to_bytes(), unseen.conditions(blind, leading))

    def _unseen_by(self, manifest: Manifest) -> tuple[str, ...]:
        """What the run of a manifest did out of sight; where it left nothing, what the latest one did."""
        if not self._is_traced:
            return ()
        kept = unseen.kept_with(self._keeper, make_key(self._name_of(manifest), namespace=recipes.NAMESPACE))
        return self._unseen.latest if kept is None else kept


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


@contextmanager
def aside() -> Iterator[Recording | None]:
    """Where the cache works by itself: what it opens is no input of a traced step around it.

    Gives the recording of that step, if there is one.
    """
    traced = sys.modules.get("vcache.fingerprint.traced")  # loaded by the first traced step only
    outer = None if traced is None else cast("Recording | None", traced.current())
    if outer is None:
        yield None
        return
    from vcache.fingerprint.traced import paused

    with paused():
        yield outer


def _heard_by(outer: Recording | None) -> AbstractContextManager[object]:
    """Where a recording goes on that was paused."""
    if outer is None:
        return nullcontext()
    from vcache.fingerprint.traced import resumed

    return resumed(outer)


def _value_of(hit: Hit) -> object:
    content = hit.value
    return content["value"] if isinstance(content, dict) and "files" in content else content


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


_GENERATOR: Final = 0x20  # inspect.CO_GENERATOR and its kin, without importing inspect
_COROUTINE: Final = 0x80
_ASYNC_GENERATOR: Final = 0x200
