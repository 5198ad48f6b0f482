"""`vcache gocacheprog`: what GOCACHEPROG of the Go command names."""

from __future__ import annotations

import sys

import click

from vcache.cli.setup import Setup, shared_options

__all__ = ["gocacheprog"]


@click.command(short_help="Be the cache of the Go command.")
@shared_options(json=False)
@click.pass_obj
def gocacheprog(setup: Setup) -> int:
    """Be the cache of the Go command: GOCACHEPROG="vcache gocacheprog" go build ./...

    Go 1.24 or later starts this and speaks to it. What Go keeps lies in the cache that the settings
    name, remotes included.
    """
    from vcache.bridges.gocache import GoCache

    with setup.open() as cache:
        GoCache(cache, sys.stdin.buffer, sys.stdout.buffer).serve()
    return 0
