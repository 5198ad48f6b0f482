"""What the names in a piece of code stand for, in the process as it is.

It looks names up in modules, follows attributes through modules, and has what it finds
recorded. It does not look into functions or classes.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import FunctionType, ModuleType
from typing import Any, Final

from vcache.fingerprint.data import function_name
from vcache.fingerprint.ledger import Ledger
from vcache.fingerprint.names import Ref
from vcache.fingerprint.origin import Origin
from vcache.fingerprint.terms import module_name

__all__ = ["Resolver"]

# What makes the rest of a function's needs invisible.
_BLIND: Final = {
    "eval": "runs text as code",
    "exec": "runs text as code",
    "compile": "makes code from text",
    "__import__": "imports by a computed name",
    "getattr": "reads an attribute by a computed name",
    "globals": "reads globals by a computed name",
    "vars": "reads attributes by a computed name",
}
_BLIND_MODULES: Final = {"importlib": "imports by a computed name", "ctypes": "calls compiled code"}
# They tell where a module lies, not what it does.
_PLACES: Final = frozenset(
    "__name__ __file__ __doc__ __path__ __spec__ __loader__ __package__ __cached__ __builtins__ __debug__ "
    "__annotations__ __dict__ __class__".split()
)


class Resolver:
    """Looks up references for one ledger, each binding once."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._bound: set[tuple[int, str]] = set()

    def look_up(self, ref: Ref, namespace: dict[str, Any], user: str) -> None:
        """Record what a global name stands for, or what is read from it.

        Args:
            namespace: the globals of the code that names it.
            user: whose need it is, for the list of what cannot be seen.
        """
        if ref.name in _PLACES:
            return
        label = f"{module_name(str(namespace.get('__name__') or '__main__'))}:{ref.name}"
        if ref.name in namespace:
            self._bind("global", label, namespace, ref.name)
            self.descend(namespace[ref.name], ref, user)
            return
        self._ledger.watch.absent(namespace, ref.name)
        builtins = namespace.get("__builtins__", {})
        if ref.name not in (builtins if isinstance(builtins, dict) else vars(builtins)):
            self._ledger.add("global", label, b"", "not defined when it was looked for")
        elif ref.name in _BLIND:
            self._ledger.opaque.add(f"{user}: {ref.name}() {_BLIND[ref.name]}")

    def load(self, ref: Ref, namespace: dict[str, Any], user: str) -> None:
        """Record what an import inside a function gives.

        A module of the user's own is loaded, as the function would; a distribution's is not.
        """
        name = _absolute(ref, namespace)
        if name not in sys.modules and not self._is_loadable(name, user):
            return
        module = sys.modules[name]
        self._ledger.watch.name(sys.modules, name, module)
        self.descend(module, ref, user)

    def descend(self, value: object, ref: Ref, user: str) -> None:
        """Go down a chain of attributes, as far as it leads through modules."""
        for attribute in ref.attributes:
            if not isinstance(value, ModuleType):
                return self._read_from(value, attribute)
            namespace = vars(value)
            if attribute in _PLACES or self._is_foreign(value, user):
                return None
            if attribute not in namespace and not (
                ref.scope == "import" and _is_loaded(f"{value.__name__}.{attribute}")
            ):
                return self._miss(value, attribute, user)
            self._bind("module-constant", f"{module_name(value.__name__)}:{attribute}", namespace, attribute)
            value = namespace[attribute]
        if isinstance(value, ModuleType) and not self._is_foreign(value, user) and ref.is_whole:
            self._ledger.follow(value)
        return None

    def whole_module(self, module: ModuleType) -> None:
        """Record everything in a module that is used as a value: any of it may be read."""
        if self._is_foreign(module, "a value"):
            return
        for name in sorted(vars(module)):
            if not (name.startswith("__") and name.endswith("__")):
                self._bind("module-constant", f"{module_name(module.__name__)}:{name}", vars(module), name)
        self._ledger.watch.size(vars(module))

    def _bind(self, kind: str, label: str, namespace: dict[str, Any], name: str) -> None:
        """Record what a name in a module stands for."""
        if (id(namespace), name) in self._bound:
            return
        self._bound.add((id(namespace), name))
        value = namespace[name]
        self._ledger.watch.name(namespace, name, value)
        if not isinstance(value, ModuleType):
            self._ledger.value(kind, label, value, namespace)
        elif value.__name__ != name:
            self._ledger.add(kind, label, value.__name__.encode(), "module")

    def _read_from(self, value: object, attribute: str) -> None:
        """Functions carry attributes of their own; classes and objects are recorded whole."""
        if (
            isinstance(value, FunctionType)
            and attribute in value.__dict__
            and attribute != "__wrapped__"
            and self._ledger.origin_of(value.__globals__) is Origin.USER
        ):
            held = value.__dict__[attribute]
            self._ledger.watch.name(value.__dict__, attribute, held)
            self._ledger.value("global", f"{function_name(value)}.{attribute}", held, value.__globals__)

    def _miss(self, module: ModuleType, attribute: str, user: str) -> None:
        """Record that a module lacks a name, or makes it up when asked."""
        name = module_name(module.__name__)
        self._ledger.watch.absent(vars(module), attribute)
        if "__getattr__" in vars(module):
            self._bind("module-constant", f"{name}:__getattr__", vars(module), "__getattr__")
            self._ledger.opaque.add(f"{user}: {name}:{attribute} comes from the module's __getattr__()")
        else:
            self._ledger.add(
                "module-constant", f"{name}:{attribute}", b"", "not defined when it was looked for"
            )

    def _is_foreign(self, module: ModuleType, user: str) -> bool:
        """Is a module not the user's? Then it counts as what it is."""
        if self._ledger.origin_of(module) is Origin.USER:
            return False
        top = module.__name__.partition(".")[0]
        if top in _BLIND_MODULES:
            self._ledger.opaque.add(f"{user}: {top} {_BLIND_MODULES[top]}")
        self._ledger.foreign(module.__name__, getattr(module, "__file__", None), f"{user}: {module.__name__}")
        return True

    def _is_loadable(self, name: str, user: str) -> bool:
        """Load a module of the user's own; of another one, record whose it is."""
        top = name.partition(".")[0]
        path = getattr(sys.modules.get(top), "__file__", None) or _top_path(top)
        if path is None and top not in sys.modules:
            if top not in sys.stdlib_module_names:
                self._ledger.add("distribution", top, b"", "not installed when it was looked for")
            return False
        if self._ledger.origin_at(top, path) is not Origin.USER:
            self._ledger.foreign(top, path, f"{user}: {name}")
            return False
        if not _is_loaded(name):
            self._ledger.opaque.add(f"{user}: the import of {name} fails")
            return False
        return True


def _absolute(ref: Ref, namespace: dict[str, Any]) -> str:
    """The full name of an imported module."""
    if not ref.level:
        return ref.name
    package = namespace.get("__package__") or str(namespace.get("__name__")).rpartition(".")[0]
    base = str(package).rsplit(".", ref.level - 1)[0]
    return f"{base}.{ref.name}" if ref.name else base


def _top_path(top: str) -> str | None:
    """Where a top-level package would be loaded from; it is not loaded."""
    from importlib.util import find_spec  # only for imports inside functions that did not run yet

    try:
        spec = find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    return spec.origin or next(iter(spec.submodule_search_locations or ()), None)


def _is_loaded(name: str) -> bool:
    """Load a module, and say whether that worked."""
    try:
        import_module(name)
    except Exception:  # whatever the user's module raises, the function would meet it itself
        return False
    return name in sys.modules
