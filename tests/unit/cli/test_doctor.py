"""doctor: what it looks at, and that it changes nothing."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest

from vcache.cli.doctor import file_system

MOUNTS = r"""21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw
30 21 0:26 / /home rw - nfs4 server:/home rw
31 30 8:2 / /home/me/with\040space rw - xfs /dev/sdb rw
32 21 0:30 / /home/me/over rw - tmpfs tmpfs rw
33 21 0:31 / /home/me/over rw - fuse.sshfs me@x: rw
"""


def levels(result) -> dict[str, str]:
    return {finding["what"]: finding["level"] for finding in json.loads(result.stdout)["findings"]}


def test_a_healthy_directory(vcache, cache):
    """Every check is passed over a good directory, and the JSON has the documented keys"""
    cache.put("k", 1)
    result = vcache("doctor", "--json")
    found = json.loads(result.stdout)
    assert list(found) == ["is_healthy", "findings", "settings", "libraries"]
    assert result.exit_code == 0
    assert found["is_healthy"] is True
    assert set(levels(result)) >= {
        "format", "entries", "permissions", "file system", "space", "reflink", "clock", "locks", "damage",
    }  # fmt: skip
    origins = {row["key"]: row["origin"] for row in found["settings"]}
    assert (origins["dir"], origins["compress"]) == ("VCACHE_DIR", "default")
    assert found["libraries"]["click"][0].isdigit()


def test_nothing_is_left_behind(vcache, cache, tmp_path):
    """Files that a check makes are gone afterwards"""
    cache.put("k", 1)
    cache.close()
    before = sorted(tmp_path.rglob("*"))
    vcache("doctor")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_directory_that_is_not_there_yet(vcache, tmp_path):
    """A missing directory is fine, and is not made"""
    result = vcache("doctor")
    assert result.exit_code == 0
    assert "it is made on first use" in result.stdout
    assert not (tmp_path / "cache").exists()


def test_a_foreign_and_a_newer_directory(vcache, cache, tmp_path):
    """Another format is a problem that names it"""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    assert levels(vcache("doctor", "--dir", str(foreign), "--json"))["format"] == "bad"
    cache.put("k", 1)
    cache.close()
    (tmp_path / "cache" / "format").write_text("vcache-disk 99\n")
    result = vcache("doctor")
    assert result.exit_code == 1
    assert "format version 99" in result.stdout


def test_a_wrong_setting_is_shown_not_raised(vcache, monkeypatch):
    """A damaged configuration is a finding: doctor works where nothing else does"""
    monkeypatch.setenv("VCACHE_MAX_BYTES", "lots")
    result = vcache("doctor")
    assert result.exit_code == 1
    assert "VCACHE_MAX_BYTES" in result.stdout


def test_what_may_surprise_is_noted(vcache, cache, tmp_path, monkeypatch):
    """Switched off, an unknown variable, a directory open to all, damage found: notes, no failure"""
    cache.put("k", 1)
    monkeypatch.setenv("VCACHE_DISABLE", "1")
    monkeypatch.setenv("VCACHE_ZZZZZZ", "1")
    directory = tmp_path / "cache"
    directory.chmod(0o777)
    (directory / "quarantine").mkdir()
    (directory / "quarantine" / "0").write_bytes(b"x")
    result = vcache("doctor", "--json")
    found = levels(result)
    assert result.exit_code == 0
    assert {found[what] for what in ("caching", "variables", "permissions", "damage")} == {"note"}


def test_lock_files_are_told_apart(vcache, cache, tmp_path):
    """Held locks and those that killed processes left are counted apart"""
    cache.put("k", 1)
    locks = tmp_path / "cache" / "locks"
    locks.mkdir(exist_ok=True)
    (locks / "dead").touch()
    with open(locks / "alive", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        text = vcache("doctor").stdout
    assert "1 held by running processes, 1 left by killed ones" in text


@pytest.mark.parametrize(
    ("path", "point", "kind"),
    [
        ("/var/x", "/", "ext4"),
        ("/home/me", "/home", "nfs4"),
        ("/home", "/home", "nfs4"),
        ("/homely", "/", "ext4"),
        ("/home/me/with space/c", "/home/me/with space", "xfs"),
        ("/home/me/over/c", "/home/me/over", "fuse.sshfs"),
    ],
)
def test_the_file_system_of_a_path(path, point, kind):
    """The innermost mount point counts, of equal ones the last; spaces are unquoted"""
    assert file_system(Path(path), MOUNTS) == (point, kind)


def test_a_mount_point_may_have_any_bytes():
    """Letters beyond ASCII, and names in an old encoding, stay what they are"""
    for name in ("árvíz tűrő", os.fsdecode(b"old\xff")):
        line = f"30 21 0:26 / /{name.replace(' ', chr(92) + '040')} rw - nfs4 server:/home rw"
        assert file_system(Path(f"/{name}/cache"), line) == (f"/{name}", "nfs4")


def test_no_mounts_known():
    """Without a table there is no answer, and no failure"""
    assert file_system(Path("/x"), "") == ("", "")


def remote_findings(vcache) -> list[tuple[str, str, str]]:
    found = json.loads(vcache("doctor", "--json").stdout)["findings"]
    return [
        (each["level"], each["what"], each["detail"]) for each in found if each["what"].startswith("remote")
    ]


def test_a_remote_that_fails_is_shown(vcache, cache, monkeypatch):
    """By its address, with what keeps it from serving and what it refused; that keeps no cache from serving."""
    from tests.servers import free_port

    cache.close()
    address = f"http://127.0.0.1:{free_port()}/base"
    monkeypatch.setenv("VCACHE_REMOTE", address)
    vcache("get", "nothing")
    told = remote_findings(vcache)
    assert {(level, what) for level, what, _ in told} == {("note", f"remote {address}")}
    for (_, _, detail), part in zip(told, ("does not serve: ", "left alone for now", "a fault"), strict=True):
        assert part in detail
        assert "connect" in detail
    assert vcache("doctor").exit_code == 0


def test_a_remote_is_asked(vcache, cache, monkeypatch, tmp_path):
    """One that answers is fine, under its name, and is used again from then on; a wrong password is not."""
    from tests.servers import redis_server

    cache.close()
    with redis_server(tmp_path / "redis", "--requirepass", "right") as server:
        monkeypatch.setenv("RIGHT", "right")
        address = f"redis://127.0.0.1:{server.port}"
        monkeypatch.setenv("VCACHE_REMOTE", f"wrong={address}")
        vcache("get", "nothing")
        assert ("note", f"remote wrong {address}") in {told[:2] for told in remote_findings(vcache)}
        monkeypatch.setenv("VCACHE_REMOTE", f"ci={address}?password_env=RIGHT&read_only=1")
        first, *old = remote_findings(vcache)
        assert first[:2] == ("ok", f"remote ci {address}")
        assert first[2].startswith("answers in ")
        assert first[2].endswith(", is only read")
        assert not [detail for _, _, detail in old if "left alone" in detail]


@pytest.mark.parametrize(
    "address", ["nope://host/base", "http://host/?bogus=1", "http://host/?trust=missing.toml"]
)
def test_a_remote_that_cannot_be_opened_is_a_problem(vcache, cache, monkeypatch, address):
    """Every command would end with the same words."""
    cache.close()
    monkeypatch.setenv("VCACHE_REMOTE", address)
    ((level, what, detail),) = remote_findings(vcache)
    assert (level, what) == ("bad", "remote")
    assert detail in vcache("get", "nothing").stderr
    assert vcache("doctor").exit_code == 1


def test_a_remote_of_former_days_is_told_apart(vcache, cache, monkeypatch):
    """What an address that no setting names any more has left is shown as that."""
    from tests.servers import free_port

    cache.close()
    address = f"http://127.0.0.1:{free_port()}/base"
    monkeypatch.setenv("VCACHE_REMOTE", address)
    vcache("get", "nothing")
    monkeypatch.delenv("VCACHE_REMOTE")
    assert remote_findings(vcache)[0] == (
        "note",
        f"remote {address}",
        "was used once, and no setting names it now",
    )


def test_the_state_of_a_remote_is_where_its_address_says(vcache, cache, monkeypatch, tmp_path):
    """What waits to be sent is found there too."""
    from tests.servers import free_port

    cache.close()
    monkeypatch.setenv("VCACHE_REMOTE", f"http://127.0.0.1:{free_port()}/base?state={tmp_path}/elsewhere")
    vcache("put", "name", "-", stdin="value")
    assert any("wait to be sent" in detail for _, _, detail in remote_findings(vcache))
