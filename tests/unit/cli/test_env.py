"""`vcache env`: what is printed points a tool at a server, whatever the shell makes of it."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from click.testing import CliRunner, Result

from vcache.cli.app import cli
from vcache.cli.env import TOOLS

SECRET = "vct_id_sec'ret $(touch x)"
FILES = {"bazel": ".bazelrc", "buck2": ".buckconfig", "gradle": "vcache.gradle", "moon": "workspace.yml"}


def said(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["env", *arguments], env={"MY_TOKEN": SECRET})


def evaluated(script: str) -> dict[str, str]:
    """The variables that a shell has after it evaluated what was printed."""
    clean = {"PATH": os.environ["PATH"], "MY_TOKEN": SECRET}
    out = subprocess.check_output(["sh", "-ec", f"{script}\nenv -0"], env=clean)
    return dict(line.split("=", 1) for line in out.decode().split("\0") if line)


def test_with_tls_grpc_has_it_too() -> None:
    """One certificate serves both listeners: who is told one of them plainly could not connect."""
    for scheme, bazel, buck2, pants in (
        ("http", "=grpc://h:9", "tls = false", "grpc://h:9"),
        ("https", "=grpcs://h:9", "tls = true", "grpcs://h:9"),
    ):
        where = ("--url", f"{scheme}://cache.example", "--grpc", "h:9")
        assert bazel in said("bazel", *where).stderr
        assert buck2 in said("buck2", *where).stdout
        assert evaluated(said("pants", *where).stdout)["PANTS_REMOTE_STORE_ADDRESS"] == pants


def test_ccache_is_not_pointed_at_tls() -> None:
    """It would fail each compilation, "unknown remote storage scheme": what to do is said instead."""
    result = said("ccache", "--url", "https://cache.example")
    assert result.exit_code != 0
    assert result.stdout == ""
    assert "ccache speaks no TLS" in result.stderr


def test_bazel_is_not_given_an_empty_token() -> None:
    """Its file holds the token itself: a variable that is not set would make one that nobody takes."""
    result = said("bazel", "--token-env", "NOT_SET_ANYWHERE")
    assert result.exit_code != 0
    assert "NOT_SET_ANYWHERE" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("tool", sorted(TOOLS.keys() - {"ccache"}))
def test_every_tool_is_told_the_address(tool: str) -> None:
    """In its environment or in a file, whose name is told; JSON says the same."""
    address = "grpc.example:9" if tool in ("buck2", "pants") else "https://cache.example/base"
    result = said(tool, "--url", "https://cache.example/base/", "--grpc", "grpc.example:9")
    assert result.exit_code == 0
    assert address in result.stdout
    if tool in FILES:
        assert FILES[tool] in result.stderr
    told = json.loads(said(tool, "--url", "https://cache.example/base", "--format", "json").stdout)
    assert bool(told["variables"]) != (tool in FILES)
    assert bool(told["text"]) == bool(told["file"]) == (tool in FILES)


@pytest.mark.parametrize("tool", sorted(TOOLS.keys() - FILES.keys()))
def test_what_is_printed_can_be_evaluated(tool: str) -> None:
    """A shell reads it without a complaint, and puts the token in as it is."""
    result = said(tool, "--url", "http://cache.example:1/it's", "--token-env", "MY_TOKEN")
    assert result.exit_code != 0  # a quote is in no address
    result = said(tool, "--url", "http://cache.example:1/$HOME&x", "--token-env", "MY_TOKEN")
    assert SECRET not in result.stdout
    found = evaluated(result.stdout)
    told = json.loads(
        said(
            tool, "--url", "http://cache.example:1/$HOME&x", "--token-env", "MY_TOKEN", "--format", "json"
        ).stdout
    )
    for name, value in told["variables"].items():
        assert found[name] == value.replace("${MY_TOKEN}", SECRET)


@pytest.mark.parametrize("tool", sorted(TOOLS))
def test_a_token_is_named_and_not_printed(tool: str) -> None:
    """But for Bazel, which reads no variables: whoever asks for its file gets it whole."""
    result = said(tool, "--token-env", "MY_TOKEN")
    assert (SECRET in result.stdout) == (tool == "bazel")
    if tool not in ("bazel", "sccache-s3"):  # S3 keys come from `vcache token new --s3`
        assert "MY_TOKEN" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["ccache", "--url", "cache.example:8080"], "write http://HOST:PORT"),
        (["ccache", "--url", "http://me:secret@cache.example"], "without a password"),
        (["ccache", "--token-env", "vct_id-secret"], "the name of a variable, not a token"),
        (["make"], "is not one of"),
    ],
)
def test_a_mistake_is_told(arguments: list[str], words: str) -> None:
    """With what to write instead."""
    result = said(*arguments)
    assert result.exit_code != 0
    assert words in result.stderr + result.output
    assert "secret@" not in result.stderr + result.output
