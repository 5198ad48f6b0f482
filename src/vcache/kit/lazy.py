"""Names of a package that are loaded on first use: who asks for one need not wait for all."""

from __future__ import annotations

TYPE_CHECKING = False  # to import `typing` or `collections` takes longer than all else here
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping

__all__ = ["on_first_use"]


def on_first_use(
    package: MutableMapping[str, object], homes: Mapping[str, str], *, base: str = ""
) -> Callable[[str], object]:
    """What a package's `__getattr__` is to be.

    Args:
        package: its `globals()`: what was loaded once is there from then on.
        homes: by name, the module that has it, below `base`.
        base: the package itself when left out.
    """

    def load(name: str) -> object:
        home = homes.get(name)
        if home is None:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        from importlib import import_module

        value: object = getattr(import_module(f"{base or package['__name__']}.{home}"), name)
        package[name] = value
        return value

    return load
