"""`vcache logs` in this process, over a store of its own. Pipes, commands and signals: tests/e2e."""

from __future__ import annotations

import csv
import json
import sys
from io import StringIO
from pathlib import Path

import pytest

from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record

AT = 1_795_000_000_000_000_000  # 2026-11-18T11:06:40Z


@pytest.fixture
def store(tmp_path: Path):
    """The store that the command uses by default."""
    opened = DiskLogs(tmp_path / "cache" / "logs" / "default")
    yield opened
    opened.close()


@pytest.fixture
def builds(store: DiskLogs) -> DiskLogs:
    """Two runs: a warning more in the second, and another number in an equal one."""
    store.append([
        Record(AT, 13, "gcc", "unused variable 'x'", {"run": "r1", "node": "a.o", "line": 3}),
        Record(AT + 1, 0, "gcc", "in function f", {"run": "r1", "node": "a.o"}),
        Record(AT + 10**9, 13, "gcc", "unused variable 'y'", {"run": "r2", "node": "a.o", "line": 9}),
        Record(AT + 10**9 + 1, 17, "ld", "no such symbol", {"run": "r2", "node": "app"}),
    ])  # fmt: skip
    return store


def test_a_query_shows_records(vcache, builds):
    """Text by default, the oldest first"""
    result = vcache("logs", "query", "--utc", "--fields", "line", "level >= warning")
    assert result.exit_code == 0
    assert result.stdout == (
        "2026-11-18 11:06:40.000Z  warning   gcc: unused variable 'x'  line=3\n"
        "2026-11-18 11:06:41.000Z  warning   gcc: unused variable 'y'  line=9\n"
        "2026-11-18 11:06:41.000Z  error     ld: no such symbol\n"
    )


def test_a_query_may_be_several_words(vcache, builds):
    """Whoever has no need of quotes leaves them out"""
    result = vcache("logs", "query", "source", "=", "ld", "--json")
    assert json.loads(result.stdout)["message"] == "no such symbol"


def test_rows_are_a_table_and_formats_agree(vcache, builds):
    """The same answer in text, JSON and CSV"""
    words = "level >= warning | count by level | sort -count"
    assert vcache("logs", "query", words).stdout == "level    count\nwarning      2\nerror        1\n"
    rows = [json.loads(line) for line in vcache("logs", "query", "-F", "json", words).stdout.splitlines()]
    assert rows == [{"level": "warning", "count": 2}, {"level": "error", "count": 1}]
    assert list(csv.DictReader(StringIO(vcache("logs", "query", "-F", "csv", words).stdout))) == [
        {"level": "warning", "count": "2"}, {"level": "error", "count": "1"},
    ]  # fmt: skip


def test_a_query_that_is_none_shows_the_place(vcache, builds):
    """Exit code 2, and a caret under the place"""
    result = vcache("logs", "query", "level >= loud")
    assert result.exit_code == 2
    lines = result.stderr.splitlines()
    assert lines[1].strip() == "level >= loud"
    assert lines[2].index("^") == lines[1].index("loud")


def test_times_bound_a_query(vcache, builds):
    """--since is from then on, --until before then; what is no time is a usage error"""
    words = ("logs", "query", "--json")
    assert len(vcache(*words, "--since", "2026-11-18T11:06:41Z").stdout.splitlines()) == 2
    assert len(vcache(*words, "--until", "2026-11-18T11:06:41Z").stdout.splitlines()) == 2
    assert vcache(*words, "--since", "10m").stdout == ""
    result = vcache("logs", "query", "--since", "soon")
    assert result.exit_code == 2
    assert "--since 'soon' is no time" in result.stderr


def test_explain_and_limit(vcache, builds):
    """What was meant and what it took goes to standard error"""
    result = vcache("logs", "query", "--explain", "--limit", "1", "source = gcc")
    assert len(result.stdout.splitlines()) == 1
    assert "asked for: source = " in result.stderr
    assert "| limit 1" in result.stderr
    assert "1 rows of" in result.stderr


def test_colours_are_decided_when_they_are_shown(vcache, store):
    """Colours of a message are kept in the store, and shown where they are wanted only"""
    store.append([Record(AT, 17, "gcc", "\x1b[31mbad\x1b[0m\x1b]0;t\x07")])
    plain = vcache("logs", "query").stdout
    assert "\x1b" not in plain
    assert "bad␛]0;t␇" in plain
    coloured = vcache("logs", "query", "--color", "always").stdout
    assert "\x1b[31mbad" in coloured
    assert "\x1b]" not in coloured
    assert json.loads(vcache("logs", "query", "--json").stdout)["message"].startswith("\x1b[31m")


def test_export_writes_whole_files(vcache, builds, elsewhere):
    """The format is that of the file's name; nothing of a failed one is left"""
    for name in ("all.csv", "all.jsonl", "all.html", "all.parquet", "all.txt"):
        assert vcache("logs", "export", "-o", name, "level >= warning").exit_code == 0
    from pyarrow import parquet

    assert parquet.read_table("all.parquet").num_rows == 3
    assert len(Path("all.jsonl").read_text().splitlines()) == 3
    assert vcache("logs", "export", "-o", "bad.csv", "level >=").exit_code == 2
    assert not Path("bad.csv").exists()
    assert sorted(path.name for path in elsewhere.iterdir()) == [
        "all.csv", "all.html", "all.jsonl", "all.parquet", "all.txt",
    ]  # fmt: skip


def test_tail_shows_the_last(vcache, builds):
    """The last N that are meant, the oldest first; steps are refused"""
    lines = vcache("logs", "tail", "-n", "2", "--json").stdout.splitlines()
    assert [json.loads(line)["source"] for line in lines] == ["gcc", "ld"]
    assert vcache("logs", "tail", "| count").exit_code == 2


def test_show_of_a_node(vcache, builds):
    """A run is meant by its id, a part of it, `last` or -2; a slip names the nearest node"""
    for word in ("r2", "last", "-1"):
        assert "no such symbol" in vcache("logs", "show", word, "app").stdout
    assert len(vcache("logs", "show", "-2").stdout.splitlines()) == 2
    result = vcache("logs", "show", "last", "ap")
    assert result.exit_code == 2
    assert "'app'" in result.stderr
    assert vcache("logs", "show", "nine").exit_code == 2


def test_a_query_over_a_run(vcache, builds):
    """Without a journal of a build here it is about what the store has of that run"""
    counted = vcache("logs", "query", "--run", "r1", "| count by source", "-F", "csv")
    assert counted.stdout == "source,count\ngcc,2\n"
    last = vcache("logs", "query", "--run", "last", "level >= error", "--json")
    assert [json.loads(line)["run"] for line in last.stdout.splitlines()] == ["r2"]
    either = vcache(
        "logs", "query", "--run", "-2", "level >= warning or level < warning | count", "-F", "csv"
    )
    assert either.stdout == "count\n2\n"
    assert vcache("logs", "query", "--run", "nine").exit_code == 2


def test_no_run_is_known(vcache, store):
    """A store without builds says so"""
    result = vcache("logs", "show", "last")
    assert result.exit_code == 2
    assert "which run" in result.stderr


def test_diff_of_runs(vcache, builds):
    """What is new comes first; equal shapes are left out; --fail-on is for scripts"""
    result = vcache("logs", "diff", "-2", "last")
    assert result.exit_code == 0
    assert result.stdout == (
        "new (1)\n  + error    ld: app no such symbol  (1x)\n"
        "gone (1)\n  -          gcc: a.o in function f  (1x)\n"
    )
    assert vcache("logs", "diff", "r1", "r2", "--fail-on", "error").exit_code == 1
    assert vcache("logs", "diff", "r1", "r2", "--fail-on", "critical").exit_code == 0
    assert vcache("logs", "diff", "r2", "r1", "--fail-on", "error").exit_code == 0
    assert vcache("logs", "diff", "r1", "r1").stdout == "nothing differs\n"
    (row,) = csv.DictReader(StringIO(vcache("logs", "diff", "r1", "r2", "-L", "error", "-F", "csv").stdout))
    assert (row["change"], row["before"], row["after"]) == ("new", "0", "1")


def test_templates(vcache, builds):
    """Messages that differ in names and numbers only are one"""
    rows = [
        json.loads(line) for line in vcache("logs", "templates", "--json", "source = gcc").stdout.splitlines()
    ]
    assert rows[0]["count"] == 2
    assert rows[0]["first"] == "2026-11-18T11:06:40.000000000Z"
    assert rows[0]["last"] == "2026-11-18T11:06:41.000000000Z"
    new = vcache("logs", "templates", "--json", "--new-since", "2026-11-18T11:06:41Z", "--examples").stdout
    assert [json.loads(line)["example"] for line in new.splitlines()] == ["no such symbol"]


def test_templates_that_come_together(vcache, store):
    """Which lines fail together: the same places, by their share"""
    for run in ("1", "2"):
        store.append([Record(AT, 17, "s", text, {"run": run}) for text in ("disk full", "write failed")])
    (line,) = vcache("logs", "templates", "--together", "run", "--json").stdout.splitlines()
    assert json.loads(line) == {"share": 1.0, "both": 2, "one": "disk full", "other": "write failed"}


def test_stats(vcache, builds, tmp_path):
    """How many, of what, from when to when; as YAML and INI as well"""
    text = vcache("logs", "stats", "--utc").stdout
    assert "records   4 (4 not sealed yet)" in text
    assert "gcc           3  unset=1 warning=2  2026-11-18 11:06:41Z" in text
    facts = json.loads(vcache("logs", "stats", "--json").stdout)
    assert facts["sources"]["ld"]["levels"] == {"error": 1}
    import yaml

    assert yaml.safe_load(vcache("logs", "stats", "-F", "yaml").stdout) == facts
    from vcache.kit.tables import parse_table

    table = parse_table(vcache("logs", "stats", "-F", "ini").stdout, ".ini")
    assert table["source gcc"]["level.warning"] == "2"  # type: ignore[index]


def test_the_store_that_is_meant(vcache, tmp_path, monkeypatch):
    """--logs, else VCACHE_LOGS, else the namespace below the cache's directory"""
    for name in ("one", "two"):
        with DiskLogs(tmp_path / name) as made:
            made.append([Record(AT, 0, name)])
    with DiskLogs(tmp_path / "cache" / "logs" / "team") as made:
        made.append([Record(AT, 0, "team")])

    def source(*words: str) -> str:
        return str(json.loads(vcache("logs", "query", "--json", *words).stdout)["source"])

    assert source("--namespace", "team") == "team"
    monkeypatch.setenv("VCACHE_LOGS", str(tmp_path / "one"))
    assert source() == "one"
    assert source("--logs", str(tmp_path / "two")) == "two"


def test_files_are_ingested(vcache, elsewhere):
    """Each line of each file is a record; the source is the file's name, --field is in all"""
    Path("a.log").write_text("one\ntwo: error: bad\n")
    Path("b.jsonl").write_text('{"level": "warn", "msg": "three", "n": 1}\n')
    result = vcache("logs", "ingest", "a.log", "b.jsonl", "--field", "host=h", "--json")
    assert json.loads(result.stdout) == {"records": 3, "lost": 0, "status": 0}
    rows = [json.loads(line) for line in vcache("logs", "query", "--json").stdout.splitlines()]
    assert [(row["source"], row["message"], row.get("level"), row["host"]) for row in rows] == [
        ("a.log", "one", None, "h"), ("a.log", "two: error: bad", "error", "h"),
        ("b.jsonl", "three", "warning", "h"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ingest", "a", "--", "true"), "give one of them"),
        (("ingest", "--"), "give one of them"),
        (("ingest", "--field", "x", "a"), "NAME=VALUE"),
        (("ingest", "--follow"), "one FILE"),
        (("collect",), "--listen"),
        (("collect", "--listen", "gopher://x"), "gopher"),
        (("tail", "-f", "-F", "html"), "html"),
        (("templates", "| count"), "leave the steps"),
        (("qurey",), "'query'"),
    ],
)
def test_misuse_is_told(vcache, words, said):
    """Exit code 2, and what to do instead"""
    result = vcache("logs", *words)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_missing_file_is_told(vcache):
    """The file is named; the exit code is 1"""
    result = vcache("logs", "ingest", "nowhere.log")
    assert result.exit_code == 1
    assert "nowhere.log: No such file" in result.stderr


def test_gaps_are_told(vcache, monkeypatch, store):
    """What could not be read is said on standard error, and where it is wanted in the output"""
    from vcache.logs.base import Gap, Result

    gaps = [Gap(f"x.seg at {number}", "its checksum differs", number) for number in range(7)]
    monkeypatch.setattr(DiskLogs, "search", lambda self, query: Result(None, iter(()), gaps))
    result = vcache("logs", "query", "--json", "--with-gaps")
    assert "3 records cannot be read: x.seg at 3" in result.stderr
    assert "and 2 more gaps" in result.stderr
    assert len(result.stdout.splitlines()) == 7
    assert vcache("logs", "export", "-o", "-", "-F", "csv").exit_code == 1


def test_every_command_is_documented(vcache):
    """Each has help of its own, and so has each of its options"""
    import click

    from vcache.cli.logs import logs

    context = click.Context(logs)
    for name in logs.list_commands(context):
        command = logs.get_command(context, name)
        assert command is not None and command.help and command.short_help
        for parameter in command.params:
            assert not isinstance(parameter, click.Option) or parameter.help, (name, parameter.name)
        assert vcache("logs", name, "--help").exit_code == 0


def test_asking_loads_nothing_heavy():
    """`logs --help` and `logs tail` import neither pyarrow, asyncio nor rich"""
    import subprocess

    code = (
        "import sys; sys.argv = ['vcache', 'logs', 'tail', '--help']\n"
        "from vcache.cli.app import cli\n"
        "try: cli.main(prog_name='vcache')\nexcept SystemExit: pass\n"
        "print([name for name in ('pyarrow', 'asyncio', 'rich', 'numpy', 'yaml', 'ssl') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_tail_is_sealed(vcache, builds):
    """What programs let go of becomes a segment, and answers stay as they were"""
    builds.close()
    before = vcache("logs", "query", "--json").stdout
    report = json.loads(vcache("logs", "seal", "--json").stdout)
    assert (report["records"], report["segments"]) == (4, 1)
    assert json.loads(vcache("logs", "stats", "--json").stdout)["tail_records"] == 0
    assert vcache("logs", "query", "--json").stdout == before
    assert "0 records sealed" in vcache("logs", "seal").stderr


def test_old_records_go(vcache, builds):
    """--dry-run says what gc drops; then it is gone, and the rest is there"""
    builds.close()
    vcache("logs", "seal")
    words = ("logs", "gc", "--keep", "ld=100y", "--keep", "g*=1d", "--json")
    assert vcache(*words[:-1], "--keep", "x").exit_code == 2
    far = ("logs", "gc", "--max-age", "90w", "--json")
    assert json.loads(vcache(*far, "--dry-run").stdout) == {"records": 0, "size_bytes": 0, "is_dry_run": True}
    rule = ("logs", "gc", "--keep", "gcc=1,1kB", "--keep", "*=0", "--json")
    planned = json.loads(vcache(*rule, "--dry-run").stdout)
    assert len(vcache("logs", "query", "--json").stdout.splitlines()) == 4
    assert json.loads(vcache(*rule).stdout)["records"] == planned["records"]
    assert len(vcache("logs", "query", "--json").stdout.splitlines()) == 4 - planned["records"]


@pytest.mark.parametrize("rule", ["", "gcc", "gcc=", "=1d", "gcc=soon", "gcc=-1"])
def test_a_rule_that_is_none(vcache, store, rule):
    """Exit code 2; nothing is dropped"""
    assert vcache("logs", "gc", "--keep", rule).exit_code == 2


def test_nothing_bounds_the_logs(vcache, store):
    """gc without a bound is a slip"""
    assert "nothing bounds" in vcache("logs", "gc").stderr


def test_a_purge_asks(vcache, builds):
    """Without --yes somebody has to be there; with it exactly those records are gone"""
    builds.close()
    assert vcache("logs", "purge").exit_code == 2
    assert "--yes" in vcache("logs", "purge", "--source", "ld").stderr
    result = vcache("logs", "purge", "--source", "g*", "--before", "2026-11-18T11:06:41Z", "--yes", "--json")
    assert json.loads(result.stdout)["records"] == 2
    rows = [json.loads(line) for line in vcache("logs", "query", "--json").stdout.splitlines()]
    assert [row["source"] for row in rows] == ["gcc", "ld"]


def test_answers_of_segments_are_kept(vcache, builds):
    """Asked again, a query reads nothing of what is sealed"""
    builds.close()
    vcache("logs", "seal")
    words = ("logs", "query", "--explain", 'message ~ "unused .y" | count by level')
    first, again = vcache(*words), vcache(*words)
    assert "1 segments (0 answered from the cache)" in first.stderr
    assert "1 segments (1 answered from the cache)" in again.stderr
    assert first.stdout == again.stdout


def test_runs_are_completed(builds):
    """A shell is told the runs that the store knows, the last first; without a store nothing"""
    from click.shell_completion import ShellComplete

    from vcache.cli import cli

    def completed(*words: str) -> list[str]:
        shell = ShellComplete(cli, {}, "vcache", "_VCACHE_COMPLETE")
        return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]

    assert completed("logs", "show", "") == ["last", "r2", "r1"]
    assert completed("logs", "diff", "r1", "r") == ["r2", "r1"]
    assert completed("logs", "te") == ["templates"]
    assert completed("logs", "show", "--logs", "/dev/null/x", "") == []


def test_the_settings_bound_the_logs(vcache, builds, monkeypatch):
    """Without options gc does what the settings say"""
    builds.close()
    monkeypatch.setenv("VCACHE_LOGS_MAX_BYTES", "1")
    assert json.loads(vcache("logs", "gc", "--json").stdout)["records"] == 4
    assert vcache("logs", "query").stdout == ""


def test_words_without_quotes_are_explained(vcache, builds):
    """Who types words as elsewhere is told why nothing is found."""
    result = vcache("logs", "query", "unused variable")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "none has a field `unused` and a field `variable`" in result.stderr
    assert vcache("logs", "query", '"unused variable"').stdout.count("\n") == 2


def test_what_is_sealed_is_examined(vcache, builds, tmp_path):
    """A damaged segment is named, and the exit code says so."""
    builds.seal()
    assert vcache("logs", "verify").exit_code == 0
    (path,) = (tmp_path / "cache/logs/default/segments").iterdir()
    path.chmod(0o644)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    result = vcache("logs", "verify", "--json")
    assert result.exit_code == 1
    told = json.loads(result.stdout)
    assert (told["damaged"], told["segments"][0]["segment"]) == (1, told["segments"][0]["segment"])
    assert told["segments"][0]["fault"]
