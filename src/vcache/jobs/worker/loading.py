"""Handlers of modules, files, and installed distributions. It must not know who runs them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType
from typing import Final

from vcache.errors import ConfigError
from vcache.jobs.handlers.handler import handler_of
from vcache.jobs.handlers.registry import Registry
from vcache.kit import plugin
from vcache.kit.names import did_you_mean

__all__ = ["HANDLERS", "load_handlers", "load_module"]

HANDLERS: Final = "vcache.handlers"
"""The group of entry points whose names are modules with handlers, or handlers."""


def load_handlers(modules: Iterable[str] = (), *, plugins: bool = True) -> Registry:
    """The handlers of modules, and of what is installed.

    Args:
        modules: names such as "shop.jobs", or files such as "jobs/shop.py".
        plugins: with those of the entry points of group `vcache.handlers`; one that cannot be loaded is an error.

    Raises:
        ConfigError: a module cannot be loaded, or has no handlers.
        UsageError: two handlers of one kind.
    """
    found = Registry()
    for name in modules:
        module = load_module(name)
        if not found.add_all(vars(module)):
            raise ConfigError(
                f"module {name!r} ({getattr(module, '__file__', None)}) has no handlers: decorate functions with "
                "@job('kind'), from vcache.jobs"
            )
    if plugins:
        for name in plugin.names(HANDLERS):
            _add_plugin(found, name, plugin.find(HANDLERS, name))
    return found


def load_module(name: str) -> ModuleType:
    """A module by its name, or by its file, whose directory is then searched for what it imports.

    Raises:
        ConfigError: there is none, or it fails when it is imported.
    """
    path = os.path.abspath(name) if name.endswith(".py") or os.sep in name else ""
    if path:
        if not os.path.isfile(path):
            raise ConfigError(
                f"there is no file {path!r}{did_you_mean(os.path.basename(path), _beside(path))}"
            )
        _search(os.path.dirname(path))
        name = os.path.basename(path).removesuffix(".py")
    elif "" not in sys.path:
        _search(os.getcwd())  # as `python -m` does
    try:
        module = import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and (name == error.name or name.startswith(error.name + ".")):
            raise ConfigError(
                f"there is no module {name!r}{did_you_mean(name, _modules())}; give its name as for `python -m`, or "
                "its file"
            ) from None
        raise ConfigError(f"module {name!r} cannot be loaded: {error}") from error
    except (Exception, SystemExit) as error:  # foreign code
        raise ConfigError(f"module {name!r} cannot be loaded: {type(error).__name__}: {error}") from error
    if path and os.path.realpath(getattr(module, "__file__", None) or "") != os.path.realpath(path):
        raise ConfigError(
            f"{path!r} would be module {name!r}, and that is {getattr(module, '__file__', 'built in')!r}: rename it"
        )
    return module


def _add_plugin(registry: Registry, name: str, found: object) -> None:
    if isinstance(found, ModuleType):
        registry.add_all(vars(found))
    elif handler_of(found) is not None:
        registry.add(found)
    else:
        raise ConfigError(
            f"entry point {HANDLERS}:{name} is {found!r:.80}: it must name a module, or a handler"
        )


def _search(directory: str) -> None:
    if directory not in sys.path:
        sys.path.insert(0, directory)


def _beside(path: str) -> list[str]:
    try:
        return [each for each in os.listdir(os.path.dirname(path)) if each.endswith(".py")]
    except OSError:
        return []


def _modules() -> list[str]:
    return [
        each.removesuffix(".py") for each in _beside(os.path.join(os.getcwd(), "x")) if each != "__init__.py"
    ]
