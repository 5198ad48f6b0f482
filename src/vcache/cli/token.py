"""`vcache token`: who may ask a server for what."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vcache.cli.setup import Setup, shared_options
from vcache.cli.show import moment, print_json, table
from vcache.kit.units import seconds

if TYPE_CHECKING:
    from vcache.server.tokens import Token, TokenFile

__all__ = ["token"]

_ROLES = ("reader", "writer", "builder", "admin")


@click.group(short_help="Make, list and revoke a server's tokens.")
def token() -> None:
    """Make, list and revoke the tokens of a server.

    They are kept in the directory that it serves, as hashes. A running server heeds what is
    made or revoked within a second or two.
    """


@token.command(short_help="Make a token and print it.")
@click.argument("space", metavar="NAMESPACE")
@click.option(
    "--role", type=click.Choice(_ROLES), default="writer", show_default=True, help="What it may do."
)
@click.option("--expires", metavar="TIME", help="How long it holds, such as 90d; for ever by default.")
@click.option("--note", default="", metavar="TEXT", help="A word for people.")
@click.option("--s3", is_flag=True, help="Print an access key and a secret key for S3 clients as well.")
@shared_options(json=True)
@click.pass_obj
def new(setup: Setup, space: str, role: str, expires: str | None, note: str, *, s3: bool) -> int:
    """Make a token for NAMESPACE and print it. It is shown once: only its hash is kept."""
    from vcache.server.callers import Role
    from vcache.server.tokens import signing_secret
    from vcache.store.disk import DiskStore

    # With nothing but tokens in it the directory would be taken for somebody else's.
    DiskStore(setup.settings().dir).close()
    tokens = _tokens(setup)
    expires_ns = 0 if expires is None else time.time_ns() + int(seconds(expires) * 1e9)
    row, text = tokens.add(Role[role.upper()], space, expires_ns=expires_ns, note=note)
    keys = {"access_key": row.id, "secret_key": signing_secret(tokens.master(), row.id)} if s3 else {}
    if setup.is_json:
        print_json({"token": text, "id": row.id, "role": role, "namespace": space, **keys})
        return 0
    click.echo(text)
    for name, value in keys.items():
        click.echo(f"{name} {value}")
    return 0


@token.command("list", short_help="List the tokens.")
@shared_options(json=True)
@click.pass_obj
def list_(setup: Setup) -> int:
    """List the tokens by their ids, with what they may do and until when."""
    rows = sorted(_tokens(setup).rows().values(), key=lambda row: row.created_ns)
    now = time.time_ns()
    if setup.is_json:
        print_json([_described(row, now) for row in rows])
        return 0
    shown = [
        [row.id, row.role.name.lower(), row.namespace, _state(row, now), moment(row.created_ns), row.note]
        for row in rows
    ]
    table([(name, "<") for name in ("id", "role", "namespace", "state", "created", "note")], shown)
    return 0


@token.command(short_help="Make a token worthless.")
@click.argument("token_id", metavar="ID")
@shared_options(json=False)
@click.pass_obj
def revoke(setup: Setup, token_id: str) -> int:
    """Make the token with this ID worthless for good. A running server heeds it within
    a second or two.
    """
    row = _tokens(setup).revoke(token_id)
    setup.note(f"token {row.id} of namespace {row.namespace!r} is revoked")
    return 0


def _tokens(setup: Setup) -> TokenFile:
    from vcache.server.office import tokens_in
    from vcache.server.tokens import TokenFile

    return TokenFile(tokens_in(Path(setup.settings().dir)))


def _state(row: Token, now_ns: int) -> str:
    if row.revoked_ns:
        return "revoked"
    if not row.is_valid(now_ns):
        return "expired"
    return f"until {moment(row.expires_ns)}" if row.expires_ns else "valid"


def _described(row: Token, now_ns: int) -> dict[str, object]:
    return {
        "id": row.id,
        "role": row.role.name.lower(),
        "namespace": row.namespace,
        "is_valid": row.is_valid(now_ns),
        "created_ns": row.created_ns,
        "expires_ns": row.expires_ns,
        "revoked_ns": row.revoked_ns,
        "note": row.note,
    }
