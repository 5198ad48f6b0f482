"""`vcache get`, `put`, `rm`, `ls` and `info`: single entries, by their names."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

import click

from vcache.cli.keys import key_argument
from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import ago, moment, pairs, print_json, shown_name, table
from vcache.errors import UsageError
from vcache.outcome import Hit, Miss

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from vcache.cache import Cache
    from vcache.entry import Entry

__all__ = ["entry_json", "get", "info", "ls", "put", "rm"]

_CHUNK_BYTES: Final = 1 << 20


@click.command(short_help="Print a value.")
@key_argument()
@click.option("--output", "-o", metavar="FILE", type=click.Path(dir_okay=False), help="Write to a file.")
@click.option("--repr", "as_repr", is_flag=True, help="Print what is not JSON as Python shows it.")
@shared_options(json=True)
@click.pass_obj
def get(setup: Setup, key: str | bytes, output: str | None, *, as_repr: bool) -> int:
    """Print the value of KEY: bytes and text as they are, anything else as JSON.

    With --json also bytes and text are JSON: `{"base64": "…"}` and `"…"`. A file given with
    --output appears whole or not at all. The exit code is 1 when there is no usable value.
    """
    with setup.open(heeds_disable=True) as cache:
        entry = cache.entry_of(cache.key(key))
        if entry is not None and entry.codec == "bytes" and not setup.is_json:
            cache.count(Hit("", entry, None))
            return _write(_chunks(cache.open(key)), output)  # as large as it may be, never read whole
        found = cache.lookup(key)
    if isinstance(found, Miss):
        setup.note(f"{shown_name(key)}: {found.detail}")
        return 1
    value = found.value
    if isinstance(value, Exception):
        words = f"a remembered exception, {type(value).__name__}: {value}"
        click.echo(f"vcache: error: {shown_name(key)} holds {words}", err=True)
        return 1
    return _write(iter((_shown(value, key, as_json=setup.is_json, as_repr=as_repr),)), output)


def _chunks(stream: BinaryIO) -> Iterator[bytes]:
    with stream:
        while data := stream.read(_CHUNK_BYTES):
            yield data


def _write(chunks: Iterator[bytes], output: str | None) -> int:
    if output is None:
        stdout = sys.stdout.buffer
        for chunk in chunks:
            stdout.write(chunk)
        stdout.flush()
        return 0
    from vcache.kit.fs_atomic import write_atomic

    write_atomic(output, chunks)
    return 0


def _shown(value: object, key: str | bytes, *, as_json: bool, as_repr: bool) -> bytes:
    """The bytes that stand for a value."""
    import json

    if isinstance(value, str) and not as_json:
        return value.encode("utf-8", "surrogateescape")
    if isinstance(value, bytes):
        from base64 import b64encode

        return json.dumps({"base64": b64encode(value).decode()}).encode() + b"\n"
    if (place := _not_json(value, "")) is None:
        return json.dumps(value).encode() + b"\n"
    if as_repr:
        return repr(value).encode("utf-8", "backslashreplace") + b"\n"
    raise UsageError(f"{shown_name(key)} holds {place}, which JSON has no form for: use --repr")


def _not_json(value: object, path: str) -> str | None:
    """The first part that JSON cannot say, in words; None when there is none."""
    here = f" at {path}" if path else ""
    if value is None or isinstance(value, bool | int | str):
        return None
    if isinstance(value, float):
        return None if value - value == 0 else f"the number {value}{here}"
    if isinstance(value, list | tuple):
        parts = ((item, f"{path}[{at}]") for at, item in enumerate(value))
    elif isinstance(value, dict):
        strange = next((name for name in value if not isinstance(name, str)), None)
        if strange is not None:
            return f"the key {strange!r:.60}{here}"
        parts = ((item, f"{path}.{name}") for name, item in value.items())
    else:
        return f"a {type(value).__name__}{here}"
    return next((found for item, where in parts if (found := _not_json(item, where))), None)


@click.command(short_help="Keep a value.")
@key_argument()
@click.argument("file", metavar="[FILE|-]", type=click.Path(allow_dash=True), default="-")
@click.option("--ttl", metavar="TIME", help="How long it may be used, such as 10m or 7d.")
@click.option("--tag", "-t", "tags", metavar="TAG", multiple=True, help="A label to remove it by.")
@click.option("--text", "form", flag_value="text", help="The content is text (UTF-8), not bytes.")
@click.option("--json-value", "form", flag_value="json", help="The content is JSON: keep what it says.")
@shared_options(json=False)
@click.pass_obj
def put(
    setup: Setup, key: str | bytes, file: str, ttl: str | None, tags: tuple[str, ...], form: str | None
) -> int:
    """Keep the content of FILE, or of standard input, under KEY.

    The exit code is 1 when the cache could not take it, or is switched off.
    """
    with setup.open(heeds_disable=True) as cache:
        if form is None and file != "-":
            is_kept = cache.put_file(key, file, ttl=ttl, tags=tags)
        else:
            is_kept = cache.put(key, _value(file, form), ttl=ttl, tags=tags)
        if not is_kept:
            reason = "the cache could not take it"
            if cache.is_disabled or cache.is_read_only:
                reason = "caching is switched off" if cache.is_disabled else "the cache is read-only"
            click.echo(f"vcache: {shown_name(key)} was not kept: {reason}", err=True)
    return 0 if is_kept else 1


def _value(file: str, form: str | None) -> object:
    with click.open_file(file, "rb") as stream:
        data: bytes = stream.read()
    if form is None:
        return data
    where = "standard input" if file == "-" else file
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{where} is not UTF-8 ({error}): leave --{form} out to keep bytes") from None
    if form == "text":
        return text
    import json

    try:
        return json.loads(text)
    except ValueError as error:
        raise UsageError(f"{where} is not JSON: {error}") from None


@click.command(short_help="Forget values.")
@key_argument("keys", many=True, required=False)
@click.option("--tag", "-t", "tags", metavar="TAG", multiple=True, help="Forget all that have this label.")
@click.option("--all", "everything", is_flag=True, help="Forget everything in the namespace.")
@shared_options(json=False)
@click.pass_obj
def rm(setup: Setup, keys: tuple[str | bytes, ...], tags: tuple[str, ...], *, everything: bool) -> int:
    """Forget KEY..., or all that have a TAG. The exit code is 1 when a KEY was not there, or nothing
    can be forgotten because the cache is read-only.
    """
    if not (keys or tags or everything):
        raise click.UsageError("name a KEY, a --tag, or --all")
    with setup.open() as cache:
        if cache.is_read_only:
            click.echo("vcache: error: the cache is read-only: nothing can be forgotten", err=True)
            return 1
        missing = [key for key in keys if not cache.delete(key)]
        if tags:
            setup.note(f"{_entries(cache.invalidate(tags=tags))} forgotten by tag")
        if everything:
            setup.note(f"{_entries(cache.clear())} forgotten")
    for key in missing:
        setup.note(f"{shown_name(key)}: nothing is stored under this key")
    return 1 if missing else 0


def _entries(count: int) -> str:
    return "1 entry" if count == 1 else f"{count} entries"


@click.command(short_help="List names.")
@click.argument("prefix", default="")
@click.option("--long", "-l", "is_long", is_flag=True, help="Sizes, ages and tags as well.")
@click.option("--tag", "-t", "tags", metavar="TAG", multiple=True, help="Only what has one of these labels.")
@shared_options(json=True)
@click.pass_obj
def ls(setup: Setup, prefix: str, tags: tuple[str, ...], *, is_long: bool) -> int:
    """List the names that start with PREFIX, sorted.

    --json prints a list of objects as `info` does, without `state`.
    """
    with setup.open() as cache:
        found = _select(cache, prefix, frozenset(tags))
    now_ns = time.time_ns()
    if setup.is_json:
        print_json([entry_json(entry) for entry in found])
    elif is_long:
        from vcache.kit.units import format_bytes

        rows = [
            (
                format_bytes(entry.size_bytes), entry.codec, ago(entry.created_ns, now_ns),
                ago(entry.expires_ns, now_ns) if entry.expires_ns else "-",
                ",".join(sorted(entry.tags)) or "-", shown_name(entry.name),
            )
            for entry in found
        ]  # fmt: skip
        table(
            (("size", ">"), ("kind", "<"), ("made", ">"), ("expires", ">"), ("tags", "<"), ("key", "<")), rows
        )
    else:
        for entry in found:
            click.echo(shown_name(entry.name))
    return 0


def _select(cache: Cache, prefix: str, tags: frozenset[str]) -> list[Entry]:
    """The entries of the namespace that match, sorted by name, text before bytes."""
    from vcache.entry import make_key

    start = make_key("", namespace=cache.namespace)
    wanted = start + prefix.encode("utf-8", "surrogatepass") if prefix else start[:-1]
    found = [entry for entry in cache.entries_under(wanted) if not tags or entry.tags & tags]
    return sorted(found, key=lambda entry: (isinstance(entry.name, bytes), entry.key))


@click.command(short_help="Describe an entry.")
@key_argument()
@shared_options(json=True)
@click.pass_obj
def info(setup: Setup, key: str | bytes) -> int:
    """Say everything that is known of KEY's entry, and whether it may be used.

    --json prints an object: `key` and `namespace` (text; bytes as `hex:…`), `digest` (BLAKE3 of
    the content, in hex), `size_bytes`, `codec`, `encoding`, `created_ns`, `expires_ns` (0: never),
    `stale_until_ns`, `cost_ns`, `tags`, `deps` (each `kind`, `name`, `identity` in hex, `note`),
    `meta`, `is_error`, `is_pinned`; and `state`: "present", or why it cannot be used.
    """
    with setup.open() as cache:
        found = cache.peek_key(cache.key(key))
    entry, state = found.entry, "present"
    if isinstance(found, Miss):
        state = f"{found.reason.value}: {found.detail}"
    if entry is None:
        setup.note(f"{shown_name(key)}: {state}")
        return 1
    if setup.is_json:
        print_json({**entry_json(entry), "state": state})
    else:
        pairs([*_lines(entry), ("state", state)])
    return 0 if found else 1


def _lines(entry: Entry) -> list[tuple[str, str]]:
    from vcache.fingerprint.manifest import title
    from vcache.kit.units import format_bytes, format_duration

    now_ns = time.time_ns()
    expires = f"{moment(entry.expires_ns)} ({ago(entry.expires_ns, now_ns)})" if entry.expires_ns else "never"
    rows = [
        ("key", shown_name(entry.name)),
        ("namespace", entry.namespace or "-"),
        ("size", f"{format_bytes(entry.size_bytes)} ({entry.size_bytes} bytes)"),
        ("kind", f"{entry.codec}, packed as {entry.encoding.name.lower()}"),
        ("digest", entry.digest.hex()),
        ("made", f"{moment(entry.created_ns)} ({ago(entry.created_ns, now_ns)})"),
        ("expires", expires),
        ("cost", format_duration(entry.cost_ns / 1e9)),
        ("tags", ", ".join(sorted(entry.tags)) or "-"),
    ]
    rows += [("depends on", f"{dep.kind} {title(dep.kind, dep.name)}") for dep in entry.deps]
    rows += [("meta", f"{name} = {value}") for name, value in sorted(entry.meta.items())]
    flags = [
        word for word, is_set in (("an exception", entry.is_error), ("pinned", entry.is_pinned)) if is_set
    ]
    return [*rows, *([("flags", ", ".join(flags))] if flags else [])]


def entry_json(entry: Entry) -> dict[str, object]:
    """An entry as `info --json` and `ls --json` print it."""
    from vcache.fingerprint.manifest import title

    return {
        "key": shown_name(entry.name) if isinstance(entry.name, bytes) else entry.name,
        "namespace": entry.namespace,
        "digest": entry.digest.hex(),
        "size_bytes": entry.size_bytes,
        "codec": entry.codec,
        "encoding": entry.encoding.name.lower(),
        "created_ns": entry.created_ns,
        "expires_ns": entry.expires_ns,
        "stale_until_ns": entry.stale_until_ns,
        "cost_ns": entry.cost_ns,
        "tags": sorted(entry.tags),
        "deps": [
            {
                "kind": dep.kind,
                "name": title(dep.kind, dep.name),
                "identity": dep.identity.hex(),
                "note": dep.note,
            }
            for dep in entry.deps
        ],
        "meta": dict(entry.meta),
        "is_error": entry.is_error,
        "is_pinned": entry.is_pinned,
    }
