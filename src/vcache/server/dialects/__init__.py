"""What each kind of client says and expects; one module a dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vcache.server.auth import Authenticator
    from vcache.server.counts import Counts
    from vcache.server.dialect import Dialect
    from vcache.server.exchange import Desk

__all__ = ["all_dialects"]


def all_dialects(
    desk: Desk, authenticator: Authenticator, *, counts: Counts | None = None, turbo_key: bytes | None = None
) -> tuple[Dialect, ...]:
    """Every HTTP dialect, in the order in which they are asked for a path: docs/design/server.md.

    Args:
        counts: where what clients tell is counted.
        turbo_key: with which Turborepo's artifacts have to be signed.
    """
    from functools import partial

    from vcache.server.dialects.bazel import Bazel
    from vcache.server.dialects.ccache import Ccache
    from vcache.server.dialects.dav import Dav
    from vcache.server.dialects.gradle import Gradle
    from vcache.server.dialects.maven import Maven
    from vcache.server.dialects.native import Native
    from vcache.server.dialects.nx import Nx
    from vcache.server.dialects.s3 import S3
    from vcache.server.dialects.turbo import Turbo

    tell = None if counts is None else partial(counts.tell, "turbo")
    return (
        Native(desk), Ccache(), Dav(), S3(authenticator.signer), Turbo(signature_key=turbo_key, tell=tell),
        Nx(), Gradle(), Maven(), Bazel(),
    )  # fmt: skip
