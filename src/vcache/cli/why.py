"""`vcache why`: what is known of a result, and what changed since the nearest earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vcache import recipes
from vcache.cli.keys import key_argument
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json, shown_name
from vcache.entry import make_key
from vcache.fingerprint.manifest import title
from vcache.outcome import Hit, Miss, Reason

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.fingerprint.manifest import Change

__all__ = ["change_json", "why"]


@click.command(short_help="What changed in a key.")
@key_argument()
@shared_options(json=True)
@click.pass_obj
def why(setup: Setup, key: str | bytes) -> int:
    """Say whether KEY may be used and, for a result of a step or a command, what changed.

    The key of a result is compared with the nearest earlier run's of the same step or command.
    Without its digest (`run:gcc:a.o`), KEY means the latest run. The exit code is 1 when nothing
    is known of KEY.

    --json prints an object: `key`; `state`: "present", "absent", "expired", "stale", "corrupt", "refused",
    "unreachable" or "disabled";
    `detail`; `dep`, of a stale entry what changed (`kind`, `name`), else null; `compared_to`, the
    nearest earlier result's key or null; `changes`, each `what` ("added", "removed", "changed"),
    `kind`, `name`, `old` and `new` (words, or null).
    """
    with setup.open() as cache:
        name = _completed(cache, key)
        found = cache.peek_key(cache.key(name))
        nearest = _compared(cache, name)
        is_known = isinstance(name, str) and recipes.load(cache, name) is not None
    compared_to, changes = nearest or (None, ())
    if setup.is_json:
        print_json(_as_json(name, found, compared_to, changes))
    else:
        click.echo(f"{shown_name(name)}: {_state(found)}")
        _print_changes(compared_to, changes, is_known=is_known)
    return 0 if found or found.entry is not None or is_known else 1


def _completed(cache: Cache, key: str | bytes) -> str | bytes:
    """The name of the latest run, where only its owner was given, or the start of its digest."""
    if isinstance(key, bytes) or recipes.owner_of(key) or cache.peek_key(cache.key(key)).entry is not None:
        return key
    latest = next(recipes.earlier(cache, key), None)
    if latest is not None:
        return latest.name
    prefix = make_key(key, namespace=recipes.NAMESPACE)
    names = [entry.name for entry in cache.entries_under(prefix) if recipes.owner_of(str(entry.name))]
    return names[0] if len(names) == 1 else key


def _compared(cache: Cache, name: str | bytes) -> tuple[str, tuple[Change, ...]] | None:
    """The nearest earlier recipe's name, and what is different in this one."""
    if not isinstance(name, str) or (manifest := recipes.load(cache, name)) is None:
        return None
    made = cache.peek_key(make_key(name, namespace=recipes.NAMESPACE)).entry
    before_ns = None if made is None else made.created_ns
    older = recipes.earlier(cache, recipes.owner_of(name), before_ns=before_ns)
    nearest = recipes.compare(older, lambda _: manifest)
    return None if nearest is None else (nearest[0].name, nearest[1])


def _state(found: Hit | Miss) -> str:
    if isinstance(found, Hit):
        return "present"
    return found.detail if found.reason is Reason.ABSENT else f"{found.reason.value}: {found.detail}"


def _print_changes(compared_to: str | None, changes: tuple[Change, ...], *, is_known: bool) -> None:
    if compared_to is None:
        if is_known:
            click.echo("  it is the first of its step or command: there is nothing to compare with")
        return
    for change in changes:
        for line in recipes.in_words(change):
            click.echo(f"  {line}")
    click.echo(f"  since {compared_to}")


def _as_json(
    name: str | bytes, found: Hit | Miss, compared_to: str | None, changes: tuple[Change, ...]
) -> dict[str, object]:
    dep = found.dep if isinstance(found, Miss) else None
    return {
        "key": shown_name(name) if isinstance(name, bytes) else name,
        "state": "present" if isinstance(found, Hit) else found.reason.value,
        "detail": "" if isinstance(found, Hit) else found.detail,
        "dep": None if dep is None else {"kind": dep.kind, "name": title(dep.kind, dep.name)},
        "compared_to": compared_to,
        "changes": [change_json(change) for change in changes],
    }


def change_json(change: Change) -> dict[str, object]:
    """A change as `why --json` prints it."""
    return {
        "what": change.what,
        "kind": change.kind,
        "name": title(change.kind, change.name),
        "old": None if change.old is None else change.old.note,
        "new": None if change.new is None else change.new.note,
    }
