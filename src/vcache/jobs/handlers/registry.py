"""Handlers by their kinds. It must not know where they were found, nor who asks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase

from vcache.errors import UsageError
from vcache.jobs.handlers.handler import Handler, handler_of
from vcache.kit.names import did_you_mean

__all__ = ["Registry"]


class Registry:
    """Handlers, one for each kind.

    Args:
        handlers: handlers, or functions that `job` made handlers.

    Raises:
        UsageError: something else, or two of one kind.
    """

    def __init__(self, handlers: Iterable[object] = ()) -> None:
        self._handlers: dict[str, Handler] = {}
        for each in handlers:
            self.add(each)

    def add(self, handler: object) -> None:
        """Take one more; raises as the class does."""
        found = handler_of(handler)
        if found is None:
            raise UsageError(f"{handler!r:.120} is no handler: decorate it with @job('its.kind')")
        known = self._handlers.setdefault(found.kind, found)
        if known is not found and known.function is not found.function:
            raise UsageError(f"job {found.kind!r} has two handlers: {known!r} and {found!r}")

    def add_all(self, names: Mapping[str, object]) -> int:
        """Take all functions of a module's namespace that `job` made handlers; how many there were."""
        found = [each for each in map(handler_of, list(names.values())) if each is not None]
        for each in found:
            self.add(each)
        return len(found)

    @property
    def kinds(self) -> tuple[str, ...]:
        """Of what there are handlers, sorted."""
        return tuple(sorted(self._handlers))

    def get(self, kind: str) -> Handler | None:
        """The handler of a kind; None where there is none."""
        return self._handlers.get(kind)

    def match(self, pattern: str) -> bool:
        """Whether it names a kind that there is a handler for."""
        return any(fnmatchcase(kind, pattern) for kind in self._handlers)

    def matching(self, patterns: Iterable[str]) -> tuple[str, ...]:
        """The kinds that these name; "email.*" names several.

        Raises:
            UsageError: one names none.
        """
        found: set[str] = set()
        for pattern in patterns:
            if not self.match(pattern):
                raise UsageError(
                    f"there is no handler for kind {pattern!r}{did_you_mean(pattern, self.kinds)}"
                )
            found.update(kind for kind in self._handlers if fnmatchcase(kind, pattern))
        return tuple(sorted(found))

    def prepare(self) -> None:
        """Find mistakes in the parameters of handlers; raises as `Handler.prepare`."""
        for each in self._handlers.values():
            each.prepare()

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())

    def __len__(self) -> int:
        return len(self._handlers)
