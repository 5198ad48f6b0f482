"""stats, gc and verify."""

from __future__ import annotations

import json
import os

import pytest


def test_stats_json_has_the_documented_keys(vcache, cache):
    """The keys of stats --json are those of the reference, and the counts are right"""
    cache.put("k", b"x")
    cache.get("k")
    cache.get("nobody")
    cache.close()
    found = json.loads(vcache("--json", "stats").stdout)
    assert list(found) == [
        "hits", "misses", "ratio", "puts", "stale", "expired", "corrupt", "faults", "evicted",
        "saved_s", "entries", "size_bytes", "disk_bytes", "fetched", "fetched_bytes", "tiers",
    ]  # fmt: skip
    assert (found["hits"], found["misses"], found["ratio"], found["entries"]) == (1, 1, 0.5, 1)
    assert found["tiers"]["disk"]["entries"] == 1


def test_stats_for_people(vcache, cache):
    """Plain lines; what never happened is left out"""
    cache.put("k", b"x")
    cache.get("k")
    cache.close()
    text = vcache("stats").stdout
    assert "hit ratio   100.0%\n" in text
    assert "corrupt" not in text


def test_zero_starts_the_counts_anew(vcache, cache):
    """--zero prints the old counts and leaves none; entries stay"""
    cache.put("k", b"x")
    cache.get("k")
    cache.close()
    assert json.loads(vcache("stats", "--zero", "--json").stdout)["hits"] == 1
    found = json.loads(vcache("stats", "--json").stdout)
    assert (found["hits"], found["puts"], found["saved_s"], found["entries"]) == (0, 0, 0, 1)


def test_stats_of_tiers(vcache, tmp_path, monkeypatch):
    """With configured tiers each is shown"""
    monkeypatch.setenv("VCACHE_TIERS", f"mem:1MB disk:{tmp_path / 'far'}")
    assert list(json.loads(vcache("stats", "--json").stdout)["tiers"]) == ["memory", "disk"]
    assert "tier" in vcache("stats").stdout


def test_gc_keeps_a_limit(vcache, cache):
    """--max-entries drops the rest; --dry-run drops nothing and says so"""
    for number in range(10):
        cache.put(str(number), b"x")
    cache.close()
    plan = json.loads(vcache("gc", "--max-entries", "4", "--dry-run", "--json").stdout)
    assert plan["is_dry_run"] is True
    assert plan["dropped_entries"] > 0
    assert json.loads(vcache("stats", "--json").stdout)["entries"] == 10
    result = vcache("gc", "--max-entries", "4")
    assert result.exit_code == 0
    assert result.stdout.startswith("dropped ")
    assert json.loads(vcache("stats", "--json").stdout)["entries"] <= 4


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [(("--max-bytes", "lots"), "'lots'"), (("--max-age", "-1d"), "'-1d'"), (("--max-entries", "-1"), "-1")],
)
def test_gc_refuses_limits_that_are_none(vcache, arguments, shown):
    """A limit that means nothing is a usage error that shows it"""
    result = vcache("gc", *arguments)
    assert result.exit_code == 2
    assert shown in result.stderr


def test_verify_finds_damage_and_repairs_it(vcache, cache, tmp_path):
    """verify fails while there is damage, and is content after --repair"""
    cache.put("k", os.urandom(1_000_000))
    cache.close()
    assert vcache("verify").exit_code == 0
    (blob,) = (path for path in (tmp_path / "cache" / "blobs").rglob("*") if path.is_file())
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.chmod(0o644)
    blob.write_bytes(data)
    result = vcache("verify", "--json")
    assert result.exit_code == 1
    (fault,) = json.loads(result.stdout)["faults"]
    assert fault["key"] == "k"
    assert vcache("verify", "--repair").exit_code == 1
    assert vcache("verify").stdout == "0 entries read, 0 damaged\n"


def test_a_foreign_directory_is_left_alone(vcache, tmp_path):
    """A directory of something else is a usage error for every command, and stays as it was"""
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("x")
    for command in ("stats", "gc", "verify", "ls"):
        result = vcache(command, "--dir", str(foreign))
        assert result.exit_code == 2
        assert "vcache: error:" in result.stderr
        assert "thesis.txt" in result.stderr
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]


def test_a_wrong_setting_names_its_place(vcache, elsewhere):
    """A setting that does not fit is one line with file and line, exit code 2"""
    (elsewhere / "vcache.toml").write_text('namespace = ""\nmax_bytes = "lots"\n')
    result = vcache("stats")
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert "vcache.toml:2" in result.stderr


def test_gc_sweeps_the_compiler_wrappers_records(vcache, tmp_path, monkeypatch):
    """what lives beside the store keeps to a budget, too"""
    monkeypatch.setattr("vcache.cc.records.BUDGET_BYTES", 150)
    vcache("put", "key", stdin="value")
    records = tmp_path / "cache" / "cc" / "ab"
    records.mkdir(parents=True)
    for number in range(2):
        (records / f"{number:062x}").write_bytes(b"x" * 100)
    assert vcache("gc", "--dry-run").exit_code == 0
    assert len(list(records.iterdir())) == 2
    assert vcache("gc").exit_code == 0
    assert len(list(records.iterdir())) == 1
