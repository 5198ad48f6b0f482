"""What a server's settings let happen to jobs. It must not know queues: it asks the server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vcache.errors import StoreError
from vcache.store.address import Options, parse_url
from vcache.store.redis.opening import server_of

if TYPE_CHECKING:
    from vcache.store.redis.wire import Client

__all__ = ["risks"]


def risks(address: str) -> Iterator[str]:
    """One sentence for each setting of a server by which acknowledged jobs can be lost.

    Raises:
        ConfigError: the address makes no sense, or the extra is not installed.
        StoreError: the server does not answer.
    """
    url = parse_url(address)
    client: Client = server_of(url, Options(url))[2]()
    try:
        yield from _risks(_facts(client))
    finally:
        client.close()


def _facts(client: Client) -> dict[str, str]:
    """What the server says of itself; INFO does not say how it syncs, and CONFIG may be forbidden."""
    found: dict[str, str] = {}
    for section in (b"memory", b"persistence"):
        answer = client.ask(b"INFO", section)
        lines = answer.decode("utf-8", "replace").splitlines() if isinstance(answer, bytes) else ()
        found |= {name: value for name, colon, value in (line.partition(":") for line in lines) if colon}
    try:
        answer = client.ask(b"CONFIG", b"GET", b"appendfsync")
    except StoreError:
        return found
    if isinstance(answer, list) and len(answer) == 2:
        found["appendfsync"] = answer[1].decode("utf-8", "replace")
    return found


def _risks(facts: dict[str, str]) -> Iterator[str]:
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and facts.get("maxmemory", "0") != "0":
        yield f"throws jobs away when its memory is full: set maxmemory-policy noeviction (it is {policy})"
    if facts.get("aof_enabled", "1") == "0":
        yield "loses at a restart what came since its last snapshot: set appendonly yes"
    elif facts.get("appendfsync") == "no":
        yield "may lose half a minute at a power loss: set appendfsync everysec, or always"
