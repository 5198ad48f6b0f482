"""Differences between two results, as the commands that explain print them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vcache.fingerprint.manifest import title

if TYPE_CHECKING:
    from vcache.fingerprint.manifest import Change

__all__ = ["change_json"]


def change_json(change: Change) -> dict[str, object]:
    """A change as `why --json` prints it."""
    return {
        "what": change.what,
        "kind": change.kind,
        "name": title(change.kind, change.name),
        "old": None if change.old is None else change.old.note,
        "new": None if change.new is None else change.new.note,
    }
