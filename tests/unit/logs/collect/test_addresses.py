"""Where to listen, as it is written."""

from __future__ import annotations

import pytest

from vcache.errors import ConfigError
from vcache.logs.collect.addresses import parse_address


def test_what_an_address_says():
    """Scheme, place and options."""
    found = parse_address("unix:///run/a%20b/log?format=json&mode=660&acks=1&source=app")
    assert (found.path, found.format, found.mode, found.has_acks, found.source) == (
        "/run/a b/log", "json", 0o660, True, "app",
    )  # fmt: skip
    found = parse_address("syslog+udp://[::1]:5514")
    assert (found.host, found.port, found.format) == ("::1", 5514, "syslog")


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ("syslog://127.0.0.1:1", r"syslog\+udp"),
        ("syslog+udp://127.0.0.1", "a port"),
        ("syslog+udp://127.0.0.1:99999", "no address"),
        ("syslog+tcp://127.0.0.1:1?mode=600", "no option 'mode'"),
        ("syslog+tls://127.0.0.1:1", "certificate"),
        ("unix://run/x", "three slashes"),
        ("unix:///run/x?mode=9", "octal"),
        ("unix:///run/x?acks=yes", "0 or 1"),
        ("unix:///run/x?format=jsn", "json"),
        ("unix:///" + "x" * 108, "107 bytes"),
        ("", "nobody listens"),
    ],
)
def test_what_is_no_address_is_refused_with_a_remedy(spec, match):
    """The error names what is wrong."""
    with pytest.raises(ConfigError, match=match):
        parse_address(spec)


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "some.host"])
def test_other_machines_are_let_in_only_on_demand(host):
    """Beyond loopback nobody listens unless that is said."""
    address = parse_address(f"syslog+tcp://{host}:5514")
    with pytest.raises(ConfigError, match="other machines"):
        address.check(is_exposed=False)
    address.check(is_exposed=True)


@pytest.mark.parametrize(
    "spec", ["syslog+udp://127.0.0.1:1", "syslog+udp://[::1]:1", "unix:///x", "unixgram:///x"]
)
def test_this_machine_is_let_in(spec):
    """Loopback and unix sockets need no word."""
    parse_address(spec).check(is_exposed=False)
