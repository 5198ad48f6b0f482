from __future__ import annotations

from dataclasses import replace

import pytest

from vcache.errors import ConfigError
from vcache.store.address import Options, parse_url
from vcache.store.guard.limits import OPTIONS, Limits, bare_address, folder_name, read_limits, spool_name


def limits_of(query: str) -> Limits:
    options = Options(parse_url(f"http://host/base?{query}" if query else "http://host/base"))
    limits, _ = read_limits(options)
    options.finish()
    return limits


def test_the_defaults_are_those_of_the_table() -> None:
    """An address without options has what docs/design/network.md says."""
    assert limits_of("") == Limits(
        deadline_s=5,
        rate_bytes=1_000_000,
        retries=2,
        hedge_s=None,
        is_behind=True,
        spool_bytes=10**9,
        flush_s=5,
        concurrency=16,
        bandwidth_bytes=None,
        limit_bytes=10**9,
        is_read_only=False,
        negative_s=60,
    )


@pytest.mark.parametrize(
    ("query", "changes"),
    [
        ("deadline=500ms", {"deadline_s": 0.5}),
        ("rate=2MB&retries=0", {"rate_bytes": 2_000_000, "retries": 0}),
        ("hedge=50ms", {"hedge_s": 0.05}),
        ("hedge=off", {}),
        ("write=through", {"is_behind": False}),
        ("spool=0&flush=0&negative=0", {"spool_bytes": 0, "flush_s": 0, "negative_s": 0}),
        ("concurrency=1", {"concurrency": 1}),
        ("bandwidth=10MB", {"bandwidth_bytes": 10_000_000}),
        ("limit=1MiB", {"limit_bytes": 1 << 20}),
        ("read_only=1", {"is_read_only": True}),
    ],
)
def test_an_option_changes_one_thing(query: str, changes: dict[str, object]) -> None:
    """With the units that people write."""
    assert limits_of(query) == replace(Limits(), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "query",
    [
        "deadline=0", "deadline=soon", "deadline=-1s", "rate=0", "retries=-1", "retries=1.5", "retries=1000",
        "hedge=x", "write=around", "concurrency=0", "concurrency=x", "bandwidth=0B", "limit=0",
        "read_only=maybe", "spool=lots", "state=",
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(query: str) -> None:
    """With the option and its value."""
    name = query.partition("=")[0]
    with pytest.raises(ConfigError, match=f"option {name}="):
        limits_of(query)


def test_every_option_is_known_as_the_guards() -> None:
    """What is no guard's option makes another spool: the list of them is complete."""
    options = Options(parse_url("http://host/base?other=1"))
    read_limits(options)
    with pytest.raises(ConfigError) as caught:
        options.finish()
    assert f"know: {', '.join(sorted(OPTIONS))})" in str(caught.value)


def test_secrets_are_in_no_name() -> None:
    """Who asks makes no difference to whose state it is, but to what waits to be sent."""
    url = parse_url("http://user:secret@host:80/base?deadline=1s")
    other = parse_url("http://host:80/base")
    assert bare_address(url) == bare_address(other) == "http://host:80/base"
    assert folder_name(url) == folder_name(other)
    assert len(folder_name(url)) == 16
    assert spool_name(other) == "spool"
    assert spool_name(url).startswith("spool-")
    assert "secret" not in spool_name(url)


def test_each_way_of_sending_has_its_spool() -> None:
    """What is to be encrypted never waits where it would be sent as it is; limits make no difference."""
    names = {
        spool_name(parse_url(f"http://{rest}"))
        for rest in (
            "h/b",
            "h/b?encrypt=K",
            "h/b?encrypt=L",
            "h/b?sign=K",
            "u@h/b",
            "v@h/b",
            "u@h/b?encrypt=K",
        )
    }
    assert len(names) == 7
    assert spool_name(parse_url("http://h/b?flush=1s&state=x")) == "spool"
