"""why: for plain entries, and for what steps and commands made."""

from __future__ import annotations

import json

from vcache import Env


def test_plain_entries(vcache, cache, monkeypatch):
    """present, absent, expired and stale are told apart; unknown is exit code 1"""
    monkeypatch.setenv("COLOUR", "red")
    cache.put("here", 1)
    cache.put("old", 1, ttl=0)
    cache.put("dep", 1, deps=[Env("COLOUR")])
    monkeypatch.setenv("COLOUR", "blue")
    assert vcache("why", "here").stdout == "here: present\n"
    assert vcache("why", "old").stdout.startswith("old: expired: its time to live ended")
    result = vcache("why", "dep", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert list(found) == ["key", "state", "detail", "dep", "compared_to", "changes"]
    assert (found["state"], found["dep"]) == ("stale", {"kind": "env", "name": "COLOUR"})
    missing = vcache("why", "nobody")
    assert missing.exit_code == 1
    assert "nothing is stored" in missing.stdout


def test_a_step_says_which_argument_changed(vcache, cache):
    """The nearest earlier recipe of the same step is compared with, and the values are shown"""

    @cache.step(code="none")
    def build(flags: tuple[str, ...], level: int = 1) -> int:
        return 1

    build(("-O2",))
    build(("-O9",), level=7)
    build(("-O3",))
    name = build.key(("-O3",))
    result = vcache("why", name)
    assert "changed argument flags: ('-O2',) → ('-O3',)" in result.stdout
    assert "level" not in result.stdout
    assert f"since {build.key(('-O2',))}" in result.stdout
    (change,) = json.loads(vcache("why", name, "--json").stdout)["changes"]
    assert change == {
        "what": "changed", "kind": "arg", "name": "flags", "old": "('-O2',)", "new": "('-O3',)",
    }  # fmt: skip


def test_the_first_of_its_step(vcache, cache):
    """Without an earlier recipe that is said; a later one does not count"""

    @cache.step(code="none")
    def build(flag: str) -> int:
        return 1

    build("a")
    build("b")
    assert "nothing to compare with" in vcache("why", build.key("a")).stdout


def test_names_can_be_short(vcache, cache):
    """The owner alone means its latest result, the start of a digest the one that has it"""

    @cache.step(code="none")
    def build(flag: str) -> int:
        return 1

    build("a")
    build("b")
    name = build.key("b")
    assert vcache("why", name.rpartition(":")[0]).stdout.startswith(f"{name}: present")
    assert vcache("why", name[:-50]).stdout.startswith(f"{name}: present")


def test_a_result_that_was_evicted_is_still_explained(vcache, cache):
    """The recipe outlives the result: why still says what went into it"""

    @cache.step(code="none")
    def build(flag: str) -> int:
        return 1

    build("a")
    build("b")
    name = build.key("b")
    cache.delete(name)
    result = vcache("why", name)
    assert result.exit_code == 0
    assert "nothing is stored" in result.stdout
    assert "changed argument flag: 'a' → 'b'" in result.stdout


def test_a_name_that_is_neither_key_nor_target_has_neighbours(vcache, monkeypatch, tmp_path):
    """Where there is a build file, it says which targets the name could have meant"""
    (tmp_path / "build.ninja").write_text("rule touch\n  command = touch $out\nbuild app: touch\n")
    monkeypatch.chdir(tmp_path)
    result = vcache("why", "ap")
    assert result.exit_code == 1
    assert "ap: nothing is stored" in result.stdout
    assert "unknown target 'ap', did you mean 'app'?" in result.stderr
