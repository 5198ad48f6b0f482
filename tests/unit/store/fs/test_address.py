"""What an `fs+…://` address may say."""

from __future__ import annotations

import sys

import pytest

from vcache.errors import ConfigError
from vcache.store.address import Options, parse_url
from vcache.store.fs.address import Mount, mount_of


def mount(text: str) -> Mount:
    url = parse_url(text)
    options = Options(url)
    found, _ = mount_of(url, options)
    options.finish()
    return found


def test_a_path_is_enough(tmp_path):
    """A directory of this machine, or of this process."""
    assert mount(f"fs+file://{tmp_path}/x y/") == Mount(
        "file", {}, f"{tmp_path}/x y", f"fs+file://{tmp_path}/x y/"
    )
    assert mount("fs+memory://")[:3] == ("memory", {}, "")
    assert mount("fs+memory://a/b")[:3] == ("memory", {}, "/a/b")


def test_options_are_arguments_of_the_file_system(monkeypatch):
    """Numbers and yes or no as such; from the environment as it is, or as its JSON says."""
    monkeypatch.setenv("A_PASSWORD", "0123")
    monkeypatch.setenv("SOME_JSON", '{"a": [1]}')
    found = mount(
        "fs+sftp://ann@host:2222/cache?timeout=5&compress=true&password_env=A_PASSWORD&extra_env=SOME_JSON&unknown_hosts=1"
    )
    assert found.arguments == {
        "host": "host", "port": 2222, "username": "ann", "timeout": 5, "compress": True,
        "password": "0123", "extra": {"a": [1]},
    }  # fmt: skip
    assert found.root == "/cache"
    assert "0123" not in found.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fs+nothing://x", "knows no file system 'nothing'"),
        ("fs+memry://x", "did you mean fs+memory?"),
        ("fs+file:///", "names no directory"),
        ("fs+sftp://host", "names no directory"),
    ],
)
def test_what_cannot_be_meant_is_refused(text, said):
    """The message has the address and the remedy."""
    with pytest.raises(ConfigError) as caught:
        mount(text)
    assert said in str(caught.value)
    assert text in str(caught.value)


def test_broken_json_is_said(monkeypatch):
    """With the variable that it is in, and without what it holds."""
    monkeypatch.setenv("SOME_JSON", '{"hush-hush": ')
    with pytest.raises(ConfigError, match="SOME_JSON is not JSON") as caught:
        mount("fs+memory://x?extra_env=SOME_JSON")
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "fs+sftp://ann:hush-hush@host/p",
        "fs+memory://x?password=hush-hush",
        "fs+memory://x?account_key=hush-hush",
        "fs+memory://x?token=hush-hush",
        "fs+memory://x?client_secret=hush-hush",
        "fs+memory://x?account_key=hush%2Dhush&auto=1",
    ],
)
def test_a_secret_in_an_address_is_refused_and_not_repeated(text):
    """Addresses are shown in messages and logs."""
    with pytest.raises(ConfigError, match="_env=VARIABLE") as caught:
        mount(text)
    assert "hush" not in str(caught.value)


def test_a_secret_in_the_place_of_a_variable_is_not_repeated():
    """Nobody can tell the name of a variable that is not set from a secret."""
    with pytest.raises(ConfigError, match="password_env names a variable that is not set") as caught:
        mount("fs+memory://x?password_env=hush-hush")
    assert "hush" not in str(caught.value)


def test_what_is_called_a_token_and_is_none_may_be_said():
    """gcsfs takes the path of a file for one, and words for ways to get one."""
    assert mount("fs+memory://x?token=anon").arguments == {"token": "anon"}
    assert mount("fs+memory://x?token=/run/key.json").arguments == {"token": "/run/key.json"}


def test_missing_fsspec_names_the_extra(monkeypatch):
    """Who does not have it is told what to install."""
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ConfigError, match=r"pip install 'vcache\[fs\]'"):
        mount("fs+memory://x")


def test_a_missing_file_system_names_its_package(monkeypatch):
    """fsspec knows which; this passes it on."""
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(ConfigError, match="gcsfs"):
        mount("fs+gcs://bucket/p")
