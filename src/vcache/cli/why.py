"""`vcache why`: what is known of a result or a target, and what changed since the nearest earlier one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vcache import recipes
from vcache.cli.changes import change_json
from vcache.cli.keys import key_argument
from vcache.cli.place import find_place
from vcache.cli.planning import place_options, planned
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import print_json, shown_name
from vcache.entry import make_key
from vcache.errors import GraphError, UsageError
from vcache.fingerprint.manifest import title
from vcache.kit.data import dataclass
from vcache.kit.units import format_duration
from vcache.outcome import Hit, Miss, Reason

if TYPE_CHECKING:
    from vcache.cache import Cache
    from vcache.dag.plan import Plan, Planned
    from vcache.fingerprint.manifest import Change

__all__ = ["why"]


@click.command(short_help="What changed in a key or a target.")
@key_argument()
@place_options
@shared_options(json=True)
@click.pass_obj
def why(
    setup: Setup, key: str | bytes, *, directory: str | None, file: str | None, defines: tuple[str, ...]
) -> int:
    """Say whether KEY may be used and, for a result of a step or a command, what changed.

    Where there is a vcachefile.py or a build.ninja, KEY may be a target of it: said is where it stands,
    and which inputs, flags, tools or variables differ between what it is made of now (or, if it is up
    to date, of the result that is here) and the nearest result before, with what that cost.

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
    trouble = ""
    if isinstance(key, str) and not (found or is_known):
        answer = _why_target(setup, key, directory, file, defines)
        if isinstance(answer, int):
            return answer
        trouble = answer
    compared_to, changes = nearest or (None, ())
    if setup.is_json:
        print_json(_as_json(name, found, compared_to, changes))
    else:
        click.echo(f"{shown_name(name)}: {_state(found)}")
        _print_changes(compared_to, changes, is_known=is_known)
    if trouble:
        setup.note(trouble)
    return 0 if found or found.entry is not None or is_known else 1


def _why_target(
    setup: Setup, word: str, directory: str | None, file: str | None, defines: tuple[str, ...]
) -> int | str:
    """Say why a target was, or has to be, made. Where that cannot be: what its build file has against it."""
    try:
        place = find_place(directory, file)
    except UsageError:
        if directory or file:
            raise
        return ""  # who keeps no builds asks for keys only
    try:
        with planned(setup, place, (word,), defines) as plan:
            due = [node for node in plan.below(plan.goals) if node.standing == "has to run"]
            nodes = due or [plan.nodes[name] for name in plan.goals]
            answers = [_answer(plan, node) for node in nodes]
    except GraphError as error:
        if directory or file:
            raise
        return str(error)
    if setup.is_json:
        print_json([answer.as_json() for answer in answers])
    else:
        for answer in answers:
            answer.show()
    return 0


@dataclass(frozen=True, slots=True)
class _Answer:
    """Where a node stands, and what differs from the nearest result before."""

    node: Planned
    result: str
    why: recipes.Why | None

    def show(self) -> None:
        node, why = self.node, self.why
        cost = f" ({format_duration(node.cost_ns / 1e9)})" if node.cost_ns else ""
        reason = f": {node.reason}" if node.reason else ""
        click.echo(f"{node.name}: {node.standing}{cost}{reason}")
        if why is None or why.is_hit:
            return
        if why.nearest is None:
            click.echo("  nothing like it was made before")
            return
        _print_changes(why.nearest, why.changes, is_known=True)

    def as_json(self) -> dict[str, object]:
        why = self.why
        return {
            "name": self.node.name,
            "standing": self.node.standing,
            "reason": self.node.reason,
            "cost_s": self.node.cost_ns / 1e9,
            "result": self.result,
            "compared_to": None if why is None else why.nearest,
            "changes": [] if why is None else [change_json(change) for change in why.changes],
        }


def _answer(plan: Plan, node: Planned) -> _Answer:
    """What is to run is compared as it is now; what is made, as it was when it was made."""
    if node.standing == "has to run":
        return _Answer(node, "", plan.why(node.name))
    made = plan.last_why(node.name)
    return _Answer(node, *(made or ("", None)))


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
