"""get, put, rm, ls and info."""

from __future__ import annotations

import json
from datetime import date

import pytest

from vcache import Env, Ref
from vcache.cache import Cache
from vcache.cli.entries import entry_json


def test_bytes_come_back_as_they_were(vcache):
    """What goes in by standard input comes out by standard output, byte for byte"""
    content = bytes(range(256)) + b"\n\r\n"
    assert vcache("put", "k", stdin=content).exit_code == 0
    result = vcache("get", "k")
    assert (result.exit_code, result.stdout_bytes, result.stderr) == (0, content, "")


@pytest.mark.parametrize("size_bytes", [0, 5000, 3_000_000])
def test_files_of_any_size(vcache, elsewhere, size_bytes):
    """A file is kept and written again whatever tier its size puts it in"""
    content = b"\x07" * size_bytes
    (elsewhere / "in").write_bytes(content)
    assert vcache("put", "k", "in").exit_code == 0
    assert vcache("get", "k", "-o", "out").exit_code == 0
    assert (elsewhere / "out").read_bytes() == content


def test_text_and_json_are_values(vcache, cache):
    """--text keeps a str, --json-value what the JSON says; get prints them as such"""
    vcache("put", "t", "--text", stdin="grüß\n")
    vcache("put", "j", "--json-value", stdin='{"a": [1, 2.5, null, true]}')
    assert cache.get("t") == "grüß\n"
    assert cache.get("j") == {"a": [1, 2.5, None, True]}
    assert vcache("get", "t").stdout == "grüß\n"
    assert json.loads(vcache("get", "j").stdout) == {"a": [1, 2.5, None, True]}


def test_get_json_of_text_and_bytes(vcache, cache):
    """With --json text is a JSON string, bytes are base64"""
    cache.put("t", "a")
    cache.put("b", b"\xff\x00")
    assert json.loads(vcache("get", "t", "--json").stdout) == "a"
    assert json.loads(vcache("get", "b", "--json").stdout) == {"base64": "/wA="}


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, date(2024, 1, 2)]}, "a date at .a[1]"),
        ({1: 2}, "the key 1"),
        ([float("nan")], "the number nan at [0]"),
    ],
)
def test_what_json_cannot_say_is_refused_with_its_place(vcache, cache, value, place):
    """A value without a JSON form is a usage error that names the part; --repr prints it"""
    cache.put("k", value)
    result = vcache("get", "k")
    assert result.exit_code == 2
    assert place in result.stderr
    assert "--repr" in result.stderr
    assert vcache("get", "k", "--repr").stdout == f"{value!r}\n"


@pytest.mark.parametrize("form", ["--text", "--json-value"])
def test_content_that_is_not_what_it_is_said_to_be(vcache, form):
    """Bytes that are not UTF-8 or JSON are refused before anything is kept"""
    result = vcache("put", "k", form, stdin=b"\xff{")
    assert result.exit_code == 2
    assert "standard input is not UTF-8" in result.stderr
    assert vcache("get", "k").exit_code == 1


def test_absent(vcache):
    """A name without a value is exit code 1, nothing on standard output, a word on standard error"""
    result = vcache("get", "nobody")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "nobody: nothing is stored" in result.stderr
    assert vcache("-q", "get", "nobody").stderr == ""


def test_ttl_ends_a_value(vcache):
    """--ttl is heeded, and the reason of the miss is said"""
    vcache("put", "k", "--ttl", "0s", stdin="x")
    result = vcache("get", "k")
    assert result.exit_code == 1
    assert "time to live ended" in result.stderr


def test_a_wrong_ttl_is_a_usage_error(vcache):
    """A duration that is none is shown with what may be written"""
    result = vcache("put", "k", "--ttl", "soon", stdin="x")
    assert result.exit_code == 2
    assert "'soon'" in result.stderr
    assert "10m" in result.stderr


def test_a_remembered_exception_is_not_printed_as_a_value(vcache, cache):
    """get of a cached exception says so and fails"""

    def fail() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        cache.get_or_compute("k", fail, errors="1h")
    result = vcache("get", "k")
    assert result.exit_code == 1
    assert "ValueError: broken" in result.stderr


def test_rm(vcache, cache):
    """rm forgets what it is given, and fails for what was not there"""
    cache.put("a", 1)
    result = vcache("rm", "a", "b")
    assert result.exit_code == 1
    assert "b: nothing" in result.stderr
    assert "a" not in cache
    cache.put("a", 1)
    assert vcache("rm", "a").exit_code == 0


def test_rm_by_tag_and_all(vcache, cache):
    """--tag takes what has the label, --all the rest of the namespace only"""
    cache.put("a", 1, tags={"red"})
    cache.put("b", 1, tags={"blue"})
    vcache("put", "-n", "other", "c", stdin="x")
    assert vcache("rm", "--tag", "red").exit_code == 0
    assert sorted(cache) == ["b"]
    assert vcache("rm", "--all").exit_code == 0
    assert not list(cache)
    assert vcache("get", "-n", "other", "c").stdout == "x"
    assert vcache("rm").exit_code == 2


def test_ls_lists_sorted_by_prefix_and_tag(vcache, cache):
    """Names come sorted; PREFIX and --tag choose"""
    for name in ("b2", "a", "b1"):
        cache.put(name, name, tags={name[0]})
    assert vcache("ls").stdout == "a\nb1\nb2\n"
    assert vcache("ls", "b").stdout == "b1\nb2\n"
    assert vcache("ls", "--tag", "a").stdout == "a\n"
    assert vcache("ls", "zz").stdout == ""


def test_names_of_bytes_and_odd_ones_can_be_given_back(vcache, cache):
    """What ls prints can be given as KEY, whatever the name is"""
    names = [b"\x00\xff", "hex:00", "str:x", "ünï"]
    for name in names:
        cache.put(name, b"v")
    printed = vcache("ls").stdout.splitlines()
    assert printed == ["str:hex:00", "str:str:x", "ünï", "hex:00ff"]
    for line in printed:
        assert vcache("get", line).stdout == "v"
    assert vcache("get", "hex:zz").exit_code == 2


def test_a_control_character_cannot_reach_the_terminal(vcache, cache):
    """Names are printed on one line, without what a terminal obeys"""
    cache.put("a\x1b[31m\nb", 1)
    assert vcache("ls").stdout == "a\\x1b[31m\\nb\n"


def test_ls_long(vcache, cache):
    """--long is a table with sizes, kinds, ages and tags, aligned without a terminal"""
    cache.put("k", b"x" * 2000, tags={"t", "s"}, ttl="2h")
    heading, row = vcache("ls", "-l").stdout.splitlines()
    assert heading.split() == ["size", "kind", "made", "expires", "tags", "key"]
    assert row.startswith("2.00 kB  bytes")
    assert row.endswith("s,t   k")
    assert heading.index("key") == row.index("k", row.index("s,t"))


def test_info_json_has_the_documented_keys(vcache, cache):
    """The keys of info --json and ls --json are those of the reference"""
    cache.put("k", b"xyz", tags={"t"}, deps=[Env("HOME")], meta={"m": "1"}, pin=True, cost_s=2)
    found = json.loads(vcache("info", "k", "--json").stdout)
    documented = [
        "key", "namespace", "digest", "size_bytes", "codec", "encoding", "created_ns", "expires_ns",
        "stale_until_ns", "cost_ns", "tags", "deps", "meta", "is_error", "is_pinned", "state",
    ]  # fmt: skip
    assert list(found) == documented
    assert found["state"] == "present"
    assert (found["key"], found["size_bytes"], found["cost_ns"]) == ("k", 3, 2_000_000_000)
    assert found["deps"][0]["kind"] == "env"
    (listed,) = json.loads(vcache("ls", "--json").stdout)
    assert list(listed) == documented[:-1]


def test_info_of_an_entry_that_cannot_be_used(vcache, cache, monkeypatch):
    """info shows a stale entry, what made it stale, and fails"""
    monkeypatch.setenv("COLOUR", "red")
    cache.put("k", 1, deps=[Env("COLOUR")])
    assert vcache("info", "k").exit_code == 0
    monkeypatch.setenv("COLOUR", "blue")
    result = vcache("info", "k")
    assert result.exit_code == 1
    assert "state       stale: env COLOUR changed" in result.stdout
    assert vcache("info", "nobody").exit_code == 1


def test_switched_off(vcache, cache, monkeypatch):
    """VCACHE_DISABLE=1: get misses, put says that nothing was kept"""
    cache.put("k", "v")
    monkeypatch.setenv("VCACHE_DISABLE", "1")
    assert vcache("get", "k").exit_code == 1
    result = vcache("put", "k2", stdin="x")
    assert result.exit_code == 1
    assert "switched off" in result.stderr
    monkeypatch.delenv("VCACHE_DISABLE")
    assert vcache("ls").stdout == "k\n"


def test_options_work_before_and_after_the_command(vcache, tmp_path):
    """--dir and --namespace mean the same in either place; the nearer one wins"""
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    vcache("--dir", one, "put", "k", stdin="1")
    vcache("put", "--dir", two, "k", stdin="2")
    assert vcache("get", "-d", one, "k").stdout == "1"
    assert vcache("-d", one, "get", "-d", two, "k").stdout == "2"
    assert vcache("-n", "x", "-d", one, "get", "k").exit_code == 1


def test_hits_and_misses_of_get_are_counted_once(vcache, cache):
    """Every get is one look-up, whatever the value's kind"""
    cache.put("b", b"x" * 300_000)
    cache.put("v", [1])
    cache.close()
    for name in ("b", "v", "nobody"):
        vcache("get", name)
    counted = json.loads(vcache("stats", "--json").stdout)
    assert (counted["hits"], counted["misses"]) == (2, 1)


def test_entry_json_of_a_bytes_name(tmp_path):
    """A name of bytes is `hex:…` in JSON, too"""
    with Cache(f"disk:{tmp_path / 'c'}") as cache:
        cache.put(b"\x01", 1)
        assert [entry_json(entry)["key"] for entry in cache.entries()] == ["hex:01"]


def test_an_entry_that_another_depends_on_is_shown_by_its_name(vcache, cache):
    """No NUL of a canonical key comes out of info or why, for people or for programs"""
    cache.put("a", 1)
    cache.put("b", 2, deps=[Ref("a")])
    assert "depends on  entry a\n" in vcache("info", "b").stdout
    assert json.loads(vcache("info", "--json", "b").stdout)["deps"][0]["name"] == "a"
    cache.put("a", 3)
    assert vcache("why", "b").stdout == "b: stale: entry a changed\n"
    said = json.loads(vcache("why", "--json", "b").stdout)
    assert said["dep"] == {"kind": "entry", "name": "a"} and "\0" not in said["detail"]


def test_a_read_only_cache_says_that_it_is(vcache, cache, monkeypatch, elsewhere):
    """rm and put fail with that reason, run says it and passes the command's own status on"""
    cache.put("k", 1)
    monkeypatch.setenv("VCACHE_READ_ONLY", "1")
    (elsewhere / "f").write_text("x")
    for arguments in (("rm", "k"), ("rm", "--all"), ("put", "n", "f"), ("put", "n")):
        done = vcache(*arguments, stdin="x")
        assert done.exit_code == 1
        assert "the cache is read-only" in done.stderr
        assert "nothing is stored" not in done.stderr
    assert cache.get("k") == 1
    done = vcache("run", "--", "true")
    assert done.exit_code == 0
    assert "not kept: the cache is read-only" in done.stderr


def test_one_entry_is_not_entries(vcache, cache):
    """How many were forgotten is said in words that fit the number"""
    cache.put("a", 1, tags=["t"])
    assert "1 entry forgotten by tag" in vcache("rm", "--tag", "t").stderr
    cache.put("a", 1)
    cache.put("b", 1)
    assert "2 entries forgotten" in vcache("rm", "--all").stderr
