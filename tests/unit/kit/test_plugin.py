from __future__ import annotations

import sys
from pathlib import Path

import pytest

from vcache.errors import ConfigError
from vcache.kit import plugin

GROUP = "vcache.tests"


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put distributions with entry points, and their modules, on the path."""
    monkeypatch.syspath_prepend(str(tmp_path))
    before = set(sys.modules)

    def add(distribution: str, points: dict[str, str], modules: dict[str, str], *, folder: str = "") -> None:
        root = tmp_path / folder if folder else tmp_path
        info = root / f"{distribution.replace('-', '_')}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
        lines = "".join(f"{name} = {value}\n" for name, value in points.items())
        (info / "entry_points.txt").write_text(f"[{GROUP}]\n{lines}")
        for name, text in modules.items():
            (root / f"{name}.py").write_text(text)
        if folder:
            monkeypatch.syspath_prepend(str(root))
        plugin.forget()

    plugin.forget()
    yield add
    plugin.forget()
    for name in set(sys.modules) - before:
        if name.startswith("plug_"):
            del sys.modules[name]


def test_names_imports_nothing(install):
    """The names of a group are known without importing a plug-in."""
    install("plug-a", {"one": "plug_a:VALUE"}, {"plug_a": "raise RuntimeError('imported')"})
    assert plugin.names(GROUP) == ("one",)
    assert "plug_a" not in sys.modules


def test_find_gives_the_object(install):
    """A name gives the object it points to, and the same one each time."""
    install("plug-b", {"two": "plug_b:VALUE"}, {"plug_b": "VALUE = object()"})
    found = plugin.find(GROUP, "two")
    assert found is not None
    assert plugin.find(GROUP, "two") is found


def test_find_of_an_unknown_name_is_none(install):
    """A name that nobody offers is None, in a group that exists and in one that does not."""
    install("plug-c", {"three": "plug_c:VALUE"}, {"plug_c": "VALUE = 1"})
    assert plugin.find(GROUP, "four") is None
    assert plugin.find("vcache.no.such.group", "four") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise RuntimeError('broken on purpose')", "RuntimeError: broken on purpose"),
        ("import plug_module_that_is_missing", "plug_module_that_is_missing"),
        ("raise SystemExit(3)", "SystemExit: 3"),
        ("OTHER = 1", "VALUE"),
        ("VALUE = None", "is None"),
    ],
)
def test_a_broken_plugin_is_named(install, text, reason):
    """A plug-in that fails gives an error with its distribution, its entry point and the reason."""
    install("plug-d", {"broken": "plug_d:VALUE"}, {"plug_d": text})
    with pytest.raises(ConfigError) as caught:
        plugin.find(GROUP, "broken")
    for part in ("plug-d", "broken", GROUP, "plug_d:VALUE", reason):
        assert part in str(caught.value)


def test_a_broken_plugin_breaks_no_other(install):
    """What can be loaded is, whatever happens to the rest, and each failure is told."""
    install("plug-e", {"bad": "plug_e:VALUE"}, {"plug_e": "1 / 0"})
    install("plug-f", {"good": "plug_f:VALUE"}, {"plug_f": "VALUE = 7"})
    loaded = plugin.load_all(GROUP)
    assert loaded.found == {"good": 7}
    assert len(loaded.failures) == 1
    assert "plug-e" in loaded.failures[0]


def test_a_failure_is_remembered(install, tmp_path):
    """A plug-in that failed is not imported again until the distributions are looked at anew."""
    mark = tmp_path / "count"
    text = f"from pathlib import Path\nwith Path({str(mark)!r}).open('a') as f: f.write('x')\n1 / 0"
    install("plug-g", {"bad": "plug_g:VALUE"}, {"plug_g": text})
    plugin.load_all(GROUP)
    plugin.load_all(GROUP)
    assert mark.read_text() == "x"
    plugin.forget()
    plugin.load_all(GROUP)
    assert mark.read_text() == "xx"


def test_two_distributions_for_one_name_conflict(install):
    """Two different objects under one name are refused, with the names of both distributions."""
    install("plug-h", {"same": "plug_h:VALUE"}, {"plug_h": "VALUE = 1"})
    install("plug-i", {"same": "plug_i:VALUE"}, {"plug_i": "VALUE = 2"})
    with pytest.raises(ConfigError, match=r"plug-h.*plug-i.*uninstall"):
        plugin.find(GROUP, "same")


def test_one_distribution_seen_twice_is_no_conflict(install, tmp_path: Path):
    """A distribution that is on the path twice, as with an editable install, offers its object once."""
    install("plug-j", {"same": "plug_j:VALUE"}, {"plug_j": "VALUE = 1"}, folder="first")
    install("plug-j", {"same": "plug_j:VALUE"}, {}, folder="second")
    assert plugin.find(GROUP, "same") == 1
