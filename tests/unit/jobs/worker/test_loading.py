"""Handlers are found by the names of modules and files; what cannot be loaded is said."""

from __future__ import annotations

import sys

import pytest

from vcache.errors import ConfigError
from vcache.jobs.worker.loading import load_handlers

_TEXT = "from vcache.jobs.handlers import job\n@job('{kind}')\ndef run() -> None: ...\n"


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(sys, "modules", sys.modules.copy())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_module_of_the_working_directory_or_a_file_is_loaded(place):
    """A file's directory is searched for what it imports."""
    (place / "shop_jobs.py").write_text(_TEXT.format(kind="a"))
    inner = place / "inner"
    inner.mkdir()
    (inner / "helper_of_more.py").write_text("KIND = 'b'\n")
    (inner / "more_jobs.py").write_text("from helper_of_more import KIND\n" + _TEXT.format(kind="b"))
    assert load_handlers(["shop_jobs", "inner/more_jobs.py"], plugins=False).kinds == ("a", "b")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("shop_jobz", "there is no module 'shop_jobz'; did you mean 'shop_jobs'"),
        ("./shop_jobz.py", "there is no file .*; did you mean 'shop_jobs.py'"),
        ("empty_jobs", "has no handlers"),
        ("broken_jobs", "cannot be loaded: ZeroDivisionError"),
        ("needy_jobs", "cannot be loaded: No module named 'not_there_at_all'"),
        ("exiting_jobs", "cannot be loaded: SystemExit"),
        ("./json.py", "would be module 'json'"),
    ],
)
def test_what_cannot_be_loaded_is_said(place, name, said):
    """With the nearest names, or with its own error."""
    (place / "shop_jobs.py").write_text(_TEXT.format(kind="a"))
    (place / "empty_jobs.py").write_text("")
    (place / "broken_jobs.py").write_text("1 / 0\n")
    (place / "needy_jobs.py").write_text("import not_there_at_all\n")
    (place / "exiting_jobs.py").write_text("raise SystemExit('no')\n")
    (place / "json.py").write_text("")
    import json  # noqa: F401 - so that it is loaded, whoever runs before

    with pytest.raises(ConfigError, match=said):
        load_handlers([name], plugins=False)
