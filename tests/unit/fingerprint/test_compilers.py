"""Compiler drivers and the programs behind them: real compilers, and drivers that a test writes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from vcache.fingerprint import compilers
from vcache.fingerprint.compilers import HEEDED, compiler_tools, is_compiler


class Memory:
    """A backing in memory."""

    def __init__(self) -> None:
        self.kept: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        return self.kept.get(key)

    def put(self, key: bytes, value: bytes) -> None:
        self.kept[key] = value


@pytest.fixture
def driver(tmp_path: Path) -> Path:
    """A driver that counts its questions, with one program of its own."""
    (tmp_path / "lib").mkdir()
    for name in ("cc1", "cc1plus"):
        program(tmp_path / "lib" / name, "exit 0")
    return program(
        tmp_path / "odd-gcc-99",
        f"echo x >> {tmp_path}/asked; p=${{1#-print-prog-name=}}; "
        f'if [ -e {tmp_path}/lib/$p ]; then echo {tmp_path}/lib/$p; else echo "$p"; fi',
    )


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def rounds(driver: Path) -> int:
    """How often the driver was asked for all its programs."""
    asked = driver.parent / "asked"
    return len(asked.read_text().split()) // len(compilers._PROGRAMS) if asked.exists() else 0


def forget() -> None:
    """What a new process knows."""
    compilers._known.clear()


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("gcc", True), ("g++", True), ("cc", True), ("c++", True), ("clang", True), ("clang++", True), ("c99", True),
        ("gcc-12", True), ("clang++-14", True), ("x86_64-linux-gnu-gcc-12", True), ("gcc-4.8.5", True),
        ("aarch64-linux-gnu-g++", True), ("musl-gcc", True), ("/usr/bin/gcc", True),
        ("gcc-ar", False), ("gcc-nm-12", False), ("clang-format", False), ("clang-tidy-14", False), ("ccache", False),
        ("tcc", False), ("ld", False), ("", False), ("gcc-12-extra", False), ("clang-cl", False),
    ],
)  # fmt: skip
def test_drivers_are_known_by_name(name, is_one):
    """With a triplet in front and a version behind; tools that only begin like one are none."""
    assert is_compiler(name) is is_one


@pytest.mark.parametrize("name", ["gcc", "cc", "g++"])
def test_a_real_driver_names_its_programs(name):
    """Each of them is what the driver says, and can be run."""
    driver = shutil.which(name)
    assert driver is not None
    tools = compiler_tools(driver)
    said = subprocess.run([driver, "-print-prog-name=cc1"], capture_output=True, text=True, check=True).stdout
    assert said.strip() in tools
    assert all(shutil.which(tool) for tool in tools)
    assert {"cc1", "as", "ld"} <= {os.path.basename(tool) for tool in tools}


def test_others_have_none(tmp_path):
    """What is no driver by name, is not there, or does not answer, starts nothing known."""
    assert compiler_tools("/bin/ls") == ()
    assert compiler_tools(str(tmp_path / "gcc")) == ()
    assert compiler_tools(str(program(tmp_path / "gcc", "echo gcc: error; exit 1"))) == ()


def test_a_link_is_followed(driver, tmp_path):
    """An alternative's plain name leads to a driver; and a driver's name to what only a link calls so."""
    (tmp_path / "my-compiler").symlink_to(driver)
    assert compiler_tools(str(tmp_path / "my-compiler")) == compiler_tools(str(driver)) != ()
    shutil.copy(driver, tmp_path / "wrapper")
    (tmp_path / "gcc").symlink_to("wrapper")
    assert compiler_tools(str(tmp_path / "gcc")) == compiler_tools(str(driver))
    assert compiler_tools(str(tmp_path / "wrapper")) == ()


def test_a_driver_is_asked_once(driver, tmp_path, monkeypatch):
    """In a process; again when it changes, or where its programs are sought."""
    first = compiler_tools(str(driver))
    assert f"{tmp_path}/lib/cc1" in first
    assert compiler_tools(str(driver)) == first
    assert rounds(driver) == 1
    monkeypatch.setenv("COMPILER_PATH", "/elsewhere")
    compiler_tools(str(driver))
    assert rounds(driver) == 2
    driver.write_text(driver.read_text() + "# another version\n")
    compiler_tools(str(driver))
    assert rounds(driver) == 3


def test_answers_are_remembered_across_processes(driver, tmp_path):
    """Until a package adds a program beside the others, or takes one away."""
    backing = Memory()
    first = compiler_tools(str(driver), backing=backing)
    forget()
    assert compiler_tools(str(driver), backing=backing) == first
    assert rounds(driver) == 1
    program(tmp_path / "lib" / "lto1", "exit 0")
    forget()
    assert f"{tmp_path}/lib/lto1" in compiler_tools(str(driver), backing=backing)
    assert rounds(driver) == 2


def test_what_did_not_answer_is_asked_again(tmp_path):
    """A driver that failed once is not taken for one without programs for ever."""
    backing = Memory()
    gcc = program(tmp_path / "gcc", "exit 1")
    assert compiler_tools(str(gcc), backing=backing) == ()
    assert backing.kept == {}


def test_a_program_that_went_is_not_named(driver, tmp_path):
    """Also within one process: looking at it would fail."""
    assert f"{tmp_path}/lib/cc1plus" in compiler_tools(str(driver))
    (tmp_path / "lib" / "cc1plus").unlink()
    assert f"{tmp_path}/lib/cc1plus" not in compiler_tools(str(driver))


def test_heeded_variables_change_what_gcc_makes(tmp_path):
    """Each variable that can be tried here without another system does; all are named once."""
    assert len(set(HEEDED)) == len(HEEDED)
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "only.h").write_text("int from_the_variable;\n")
    (tmp_path / "a.c").write_text(
        "#if __has_include(<only.h>)\n#include <only.h>\n#endif\nchar *d = __DATE__ ;\n"
    )
    for variable, value in {"CPATH": "inc", "C_INCLUDE_PATH": "inc", "SOURCE_DATE_EPOCH": "0"}.items():
        assert variable in HEEDED
        outputs = [
            subprocess.run(
                ["gcc", "-E", "-P", "a.c"],
                cwd=tmp_path,
                env={**os.environ, **more},
                capture_output=True,
                check=True,
            ).stdout
            for more in ({}, {variable: value})
        ]
        assert outputs[0] != outputs[1], variable
