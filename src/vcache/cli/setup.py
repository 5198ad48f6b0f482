"""What every command shares: its options, the settings they change, and opening the cache."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from vcache.kit.logs import prepare

if TYPE_CHECKING:
    from pathlib import Path

    import click

    from vcache.cache import Cache
    from vcache.config import Settings
    from vcache.store.base import Store
    from vcache.upkeep import Upkeep

__all__ = ["Setup", "shared_options"]

F = TypeVar("F", bound=Callable[..., object])


class Setup:
    """The options that every command takes, in whichever place they were given."""

    def __init__(self) -> None:
        self.directory: str | None = None
        self.namespace: str | None = None
        self.is_json = False
        self.is_quiet = False

    def settings(self) -> Settings:
        """The settings that hold here.

        Raises:
            ConfigError: one of them is wrong.
        """
        from vcache import config

        return config.load({"dir": self.directory, "namespace": self.namespace})

    def open(
        self, *, root: Path | None = None, heeds_disable: bool = False, has_remotes: bool = True
    ) -> Cache:
        """The cache.

        Args:
            root: what paths in fingerprints are relative to.
            heeds_disable: answer with misses where caching is switched off. Commands that look
                after the directory do not.
            has_remotes: with the tiers of other machines.

        Raises:
            ConfigError: a setting is wrong.
            StoreError: the directory cannot be opened, or holds something else.
        """
        from vcache.cache import Cache
        from vcache.opening import remotes_of

        settings = self.settings()
        self.speak_up()
        remotes = remotes_of(settings) if has_remotes and settings.remotes else ()
        return Cache(
            *self._tiers(settings),
            *remotes,
            namespace=settings.namespace,
            root=root,
            compress="never" if settings.compress == "none" else settings.compress,  # type: ignore[arg-type]  # checked by config
            disabled=heeds_disable and settings.is_disabled,
        )

    @contextmanager
    def open_upkeep(self) -> Iterator[Upkeep]:
        """What knows counts and sizes, without a cache around it: that would cost 8 ms of imports."""
        from vcache.upkeep import Counts, Upkeep

        tiers = [_opened(tier) for tier in self._tiers(self.settings())]
        store = tiers[0]
        if len(tiers) > 1:
            from vcache.store.tiered import TieredStore

            store = TieredStore(tiers)
        try:
            yield Upkeep(store, Counts())
        finally:
            store.close()

    def speak_up(self) -> None:
        """Have the library's warnings read like the command's own."""
        prepare(_speak_up)

    def note(self, text: str) -> None:
        """Tell a person something, on standard error, unless they asked for quiet."""
        if not self.is_quiet:
            print(f"vcache: {text}", file=sys.stderr, flush=True)

    def _tiers(self, settings: Settings) -> list[str | Store]:
        if settings.tiers and self.directory is None:
            return list(settings.tiers)
        # No memory tier: a command asks for a thing once.
        from vcache.store.disk import DiskStore

        return [
            DiskStore(
                settings.dir,
                max_bytes=settings.max_bytes,
                max_entries=settings.max_entries,
                max_age_s=settings.max_age_s,
                read_only=settings.is_read_only,
            )
        ]


def _opened(tier: str | Store) -> Store:
    if not isinstance(tier, str):
        return tier
    from vcache.store.url import open_store

    return open_store(tier)


def _speak_up() -> None:
    """Have the library's warnings read like the command's own."""
    import logging  # loaded by who has something to say

    logger = logging.getLogger("vcache")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("vcache: %(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


def shared_options(*, json: bool, taken: Sequence[str] = ()) -> Callable[[F], F]:
    """The options that a command takes as well as the group does.

    Args:
        taken: short forms that mean something else in this command.
    """
    import click  # who has options of click's has loaded it; `vcache-ninja` has none, and spares 15 ms

    def free(*words: str) -> list[str]:
        return [word for word in words if word not in taken]

    def keep(attribute: str) -> Callable[[click.Context, click.Parameter, object], object]:
        def store(ctx: click.Context, _: click.Parameter, value: object) -> object:
            if value not in (None, False):  # given here: an option before the command stays otherwise
                setattr(ctx.ensure_object(Setup), attribute, value)
            return value

        return store

    options = [
        click.option(
            "--dir", "-d", metavar="DIR", expose_value=False, callback=keep("directory"),
            type=click.Path(file_okay=False), help="The cache's directory.",
        ),
        click.option(
            *free("--namespace", "-n"), metavar="NAME", expose_value=False, callback=keep("namespace"),
            help="Names of different namespaces never meet.",
        ),
        click.option(
            "--quiet", "-q", is_flag=True, expose_value=False, callback=keep("is_quiet"),
            help="Print results and errors only.",
        ),
    ]  # fmt: skip
    if json:
        options.append(
            click.option(
                "--json", is_flag=True, expose_value=False, callback=keep("is_json"),
                help="Print JSON, in the form that the reference describes.",
            )
        )  # fmt: skip

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
