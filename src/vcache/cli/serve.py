"""`vcache serve`: one store for every build tool, on one port."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from vcache.cli.setup import Setup, shared_options

if TYPE_CHECKING:
    from vcache.server.settings import ServeSettings

__all__ = ["serve"]


@click.command(short_help="Serve a directory to build tools.")
@click.option("--listen", metavar="HOST:PORT", help="Where all HTTP dialects are; port 0 for a free one.")
@click.option("--grpc", metavar="HOST:PORT", help="Where Bazel's remote execution cache is.")
@click.option("--store", metavar="URLS", help="Tiers, fastest first, in place of a directory.")
@click.option("--queue", metavar="URL", help="Where jobs are kept, in place of the directory's own queue.")
@click.option("--max", metavar="SIZE", help="What the directory may take, such as 20GB.")
@click.option("--max-age", metavar="TIME", help="What was not used for so long goes, such as 30d.")
@click.option(
    "--tokens",
    metavar="FILE",
    type=click.Path(dir_okay=False),
    help="Who may do what; else those of the directory.",
)
@click.option(
    "--open", "open_", is_flag=True, default=None, help="Nobody needs a token, also beyond loopback."
)
@click.option("--insecure", is_flag=True, default=None, help="Without TLS, also beyond loopback.")
@click.option("--tls-cert", metavar="FILE", type=click.Path(dir_okay=False), help="PEM certificate chain.")
@click.option("--tls-key", metavar="FILE", type=click.Path(dir_okay=False), help="Its PEM private key.")
@click.option("--access-log", metavar="MODE", help="off, sampled or all: JSON lines on standard error.")
@click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
@click.option(
    "--config", metavar="FILE", type=click.Path(dir_okay=False), help="Settings: .toml, .json, .yaml or .ini."
)
@shared_options(json=True)
@click.pass_obj
def serve(setup: Setup, /, *, config: str | None, open_: bool | None, **flags: str | bool | None) -> int:
    """Serve one directory to every build tool, until told to stop.

    Where `vcache token new` made tokens, callers need one; without any, on loopback, anybody may read and
    write. Every flag is a setting, which a file
    and the environment (VCACHE_SERVE_LISTEN, …) can say as well. SIGHUP reads the file anew, SIGTERM
    finishes what is under way and ends.

    Prints one line when it serves. --json prints an object: `http` and, with --grpc, `grpc`, each
    an address; and `pid`.
    """
    from vcache.server.run import serve as run
    from vcache.server.settings import load_serve

    path = None if config is None else Path(config)
    given = {**flags, "open": open_, "dir": setup.directory}

    def load() -> ServeSettings:
        return load_serve(path, given)

    return run(load, lambda addresses: _announce(setup, addresses))


def _announce(setup: Setup, addresses: Mapping[str, str]) -> None:
    from vcache.cli.show import print_json

    if setup.is_json:
        print_json({**addresses, "pid": os.getpid()})
    else:
        click.echo(f"vcache serves at {' '.join(addresses.values())}")
    sys.stdout.flush()
