"""`vcache trust`: keys to sign and encrypt with, and the policies that name them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import moment, print_json, table

if TYPE_CHECKING:
    from vcache.store.sealed.trust import Producer

__all__ = ["trust"]

_OUT = click.option(
    "--out", "-o", required=True, metavar="FILE", help="Where the key goes; it must not be there."
)


@click.group(short_help="Keys to sign and encrypt with, and policies.")
def trust() -> None:
    """Make keys for signed and encrypted records, and look at keys and policies.

    What is done with them stands in a tier's address: `sign`, `trust` and `encrypt`.
    """


_MAY_WRITE = click.option(
    "--may-write",
    "patterns",
    multiple=True,
    default=["*"],
    show_default=True,
    metavar="PATTERN",
    help="Namespaces that the printed policy lets it write; may be repeated.",
)


@trust.command(short_help="Make a key to sign with.")
@click.argument("name")
@_OUT
@_MAY_WRITE
@shared_options(json=True)
@click.pass_obj
def new(setup: Setup, name: str, *, out: str, patterns: tuple[str, ...]) -> int:
    """Make a private key for the producer NAME, and print what a policy says to trust it.

    So `vcache trust new ci --out ci.key >> policy.toml` makes the one and completes the other.

    --json prints an object: `name`, `public`, `file`.
    """
    from vcache.store.sealed.crypto import Signer, new_private_key
    from vcache.store.sealed.keys import private_text, write_secret

    private = new_private_key()
    text = private_text(name, private)
    public = Signer(private).public
    write_secret(out, text)
    _print_public(setup, name, public, out, patterns)
    return 0


@trust.command(short_help="Show the public key of a private one.")
@click.argument("file", metavar="FILE")
@_MAY_WRITE
@shared_options(json=True)
@click.pass_obj
def show(setup: Setup, file: str, *, patterns: tuple[str, ...]) -> int:
    """Print whose private key is in FILE, and what a policy says to trust it. The secret is not shown.

    --json prints an object: `name`, `public`, `file`.
    """
    from vcache.store.sealed.crypto import Signer
    from vcache.store.sealed.keys import read_private

    name, private = read_private(file)
    _print_public(setup, name, Signer(private).public, file, patterns)
    return 0


@trust.command("encrypt-key", short_help="Make a key to encrypt with.")
@_OUT
@shared_options(json=False)
@click.pass_obj
def encrypt_key(setup: Setup, out: str) -> int:
    """Make a key for `encrypt=FILE`. Whoever has it reads and writes what it encrypts."""
    from vcache.store.sealed.keys import KEY_BYTES, secret_text, write_secret

    write_secret(out, secret_text(os.urandom(KEY_BYTES)))
    setup.note(f"{out}: give it to every machine that shares the tier, and to nobody else")
    return 0


@trust.command(short_help="Read a policy and list whom it trusts.")
@click.argument("policy", metavar="POLICY")
@shared_options(json=True)
@click.pass_obj
def check(setup: Setup, policy: str) -> int:
    """Read a policy as a tier with `trust=POLICY` does, and list its keys.

    Ends with 1 when no key of it may sign today.

    --json prints a list of objects: `name`, `public`, `namespaces`, `not_before_ns`,
    `not_after_ns`, `state` (`valid`, `early`, `expired` or `revoked`).
    """
    import time

    from vcache.store.sealed.keys import read_policy

    now_ns = time.time_ns()
    producers = sorted(read_policy(policy), key=lambda producer: producer.name)
    states = [_state(producer, now_ns) for producer in producers]
    if setup.is_json:
        print_json([_described(producer, state) for producer, state in zip(producers, states, strict=True)])
    else:
        table(
            [(name, "<") for name in ("name", "state", "namespaces", "from", "until")],
            [
                [
                    producer.name,
                    state,
                    " ".join(map(repr, producer.namespaces)) or "none",
                    _moment(producer.not_before_ns),
                    _moment(producer.not_after_ns),
                ]
                for producer, state in zip(producers, states, strict=True)
            ],
        )
    return 0 if "valid" in states else 1


def _print_public(setup: Setup, name: str, public: bytes, file: str, patterns: Sequence[str]) -> None:
    from vcache.store.sealed.trust import public_text

    text = public_text(public)
    if setup.is_json:
        print_json({"name": name, "public": text, "file": file})
        return
    bare = name.replace("-", "").replace("_", "").isalnum()
    click.echo(f"[keys.{name}]" if bare else f'[keys."{name}"]')
    click.echo(f'public = "{text}"')
    click.echo(f"namespaces = [{', '.join(map(_quoted, patterns))}]")


def _quoted(text: str) -> str:
    """As TOML has it: a string of JSON is one."""
    import json

    return json.dumps(text)


def _described(producer: Producer, state: str) -> dict[str, object]:
    from vcache.store.sealed.trust import public_text

    return {
        "name": producer.name,
        "public": public_text(producer.public),
        "namespaces": list(producer.namespaces),
        "not_before_ns": producer.not_before_ns,
        "not_after_ns": producer.not_after_ns,
        "state": state,
    }


def _state(producer: Producer, now_ns: int) -> str:
    if producer.is_revoked:
        return "revoked"
    if producer.not_before_ns is not None and now_ns < producer.not_before_ns:
        return "early"
    return "expired" if producer.not_after_ns is not None and now_ns >= producer.not_after_ns else "valid"


def _moment(at_ns: int | None) -> str:
    return "-" if at_ns is None else moment(at_ns)
