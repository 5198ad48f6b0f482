"""`vcache jobs` and `vcache schedule` in this process, over one queue in memory. Workers and signals: tests/e2e."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from tests.unit.cli.screen import Screen
from vcache.cli import cli
from vcache.cli.jobs.exposing import Depths, exposed, place_in
from vcache.cli.jobs.watch import Board
from vcache.cli.jobs.worker import is_empty
from vcache.errors import StoreUnavailable, UsageError
from vcache.jobs.base import Finished
from vcache.jobs.memory import MemoryQueue
from vcache.jobs.models import Failure, Job, Payload, Progress, Spec
from vcache.jobs.states import Event, State
from vcache.kit.ids import uuid7
from vcache.metrics import Metrics

KINDS = ("email.send", "resize", "a", "b")
TRACEBACK = 'Traceback (most recent call last):\n  File "h.py", line 3, in send\nValueError: no such host\n'


class Shared(MemoryQueue):
    """One that commands open and close."""

    def close(self) -> None:
        pass


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Shared:
    """The queue that every command opens."""
    made = Shared()

    def open_queue(address: str, *, namespace: str = "") -> Shared:
        assert address.startswith("sqlite:/"), "the one in the cache's directory"
        return made

    monkeypatch.setattr("vcache.jobs.opening.open_queue", open_queue)
    return made


def asked(
    queue: MemoryQueue, kind: str = "email.send", payload: Payload | None = None, **given: object
) -> str:
    spec = Spec(uuid7.text(), kind, payload or {}, created_ns=queue.now_ns(), **given)  # type: ignore[arg-type]
    return queue.submit([spec])[0]


def attempt(
    queue: MemoryQueue, event: Event, *, result: object = None, message: str = "", delay_s: float = 0
) -> None:
    """Claim a job, and end the attempt."""
    session = queue.open_session("host:1", kinds=KINDS, lease_s=10)
    (claimed,) = queue.exchange(session, kinds=KINDS, want=1).claimed
    failure = (
        None
        if not message
        else Failure(queue.now_ns(), claimed.attempt, "error", message, TRACEBACK, "host:1")
    )
    queue.exchange(session, [Finished(claimed, event, result, failure, delay_s)])  # type: ignore[arg-type]
    queue.end_session(session)


def job_of(queue: MemoryQueue, job_id: str) -> Job:
    job = queue.get([job_id])[0]
    assert job is not None
    return job


def rows(text: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in text.splitlines()]


# --- submit --------------------------------------------------------------------------------------


def submitted(vcache, queue: MemoryQueue, *words: str, stdin: str | None = None) -> Spec:
    result = vcache("jobs", "submit", *words, stdin=stdin)
    assert result.exit_code == 0, result.stderr
    return job_of(queue, result.stdout.strip()).spec


def test_submit_prints_the_id(vcache, queue):
    """The id alone; an object with --json"""
    job_id = vcache("jobs", "submit", "email.send").stdout.strip()
    assert job_of(queue, job_id).kind == "email.send"
    (found,) = rows(vcache("jobs", "submit", "email.send", "--json").stdout)
    assert job_of(queue, str(found["id"])).spec.payload == {}


def test_the_queue_may_be_made_before_the_cache(vcache, tmp_path: Path):
    """Both lie in one directory, and neither takes the other for a stranger's"""
    (tmp_path / "cache" / "jobs").mkdir(parents=True)
    assert vcache("put", "a", stdin="x").exit_code == 0


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("a=b", "b"), ("a=", ""), ("a=12", 12), ("a=-1.5", -1.5), ("a=true", True), ("a=null", None),
        ("a=007", "007"), ("a=1.50", "1.50"), ("a=12e3", "12e3"), ("a=x=y", "x=y"), ("a=[1]", "[1]"),
        ('a:="12"', "12"), ('a:=[1, {"b": null}]', [1, {"b": None}]), ('a:={"$bytes": "AP8="}', b"\0\xff"),
        (f"a={2**70}", str(2**70)), ("a=nan", "nan"),
    ],
)  # fmt: skip
def test_fields(vcache, queue, word, value):
    """A number is one where it can be written back; behind := everything is JSON"""
    found = submitted(vcache, queue, "k", word).payload["a"]
    assert found == value and type(found) is type(value)


def test_payloads(vcache, queue, elsewhere: Path):
    """In words, of a file, of a pipe; fields go before"""
    (elsewhere / "p.json").write_text('{"a": 1, "b": 2}\n')
    assert submitted(vcache, queue, "k", "-p", '{"a": 1}').payload == {"a": 1}
    assert submitted(vcache, queue, "k", "b=3", "-p", "@p.json").payload == {"a": 1, "b": 3}
    assert submitted(vcache, queue, "k", "-p", "-", stdin='{"a": "é"}').payload == {"a": "é"}


def test_options(vcache, queue):
    """Each option is a field of the job"""
    before = asked(queue)
    spec = submitted(
        vcache, queue, "k", "--priority", "high", "--at", "2100-01-01T01:00+01:00", "--deadline", "2100-01-02",
        "--timeout", "1m", "--retries", "0", "--unique", "u", "--unique-for", "1h", "--after", before,
        "--parent", "p", "--tag", "x", "--tag", "y",
    )  # fmt: skip
    assert spec._replace(id="", created_ns=0, trace="", after=(*spec.after,), tags=(*spec.tags,)) == Spec(
        "", "k", {}, 1, 0, 4_102_444_800 * 10**9, 4_102_531_200 * 10**9, 60, 0, "u", 3600, (before,), "p", ("x", "y"),
    )  # fmt: skip
    spec = submitted(vcache, queue, "k", "--delay", "10s", "--deadline", "1h")
    assert spec.not_before_ns - spec.created_ns == 10**10
    assert abs(spec.deadline_ns - spec.created_ns - 3600 * 10**9) < 60 * 10**9


def test_a_unique_job_is_made_once(vcache, queue):
    """The second one's id is the first one's; without a key the payload is it"""
    one = submitted(vcache, queue, "k", "a=1", "--unique-for", "1h")
    assert submitted(vcache, queue, "k", "a=1", "--unique-for", "1h").id == one.id
    assert submitted(vcache, queue, "k", "a=2", "--unique-for", "1h").id != one.id
    two = submitted(vcache, queue, "b", "a=1", "--unique-payload")
    assert submitted(vcache, queue, "b", "a=1", "--unique-payload").id == two.id and not two.unique_s
    assert vcache("jobs", "submit", "k", "--unique", "a", "--unique-payload").exit_code == 2


def test_a_batch(vcache, queue, elsewhere: Path):
    """Payloads of one kind, or whole jobs; ids in order"""
    (elsewhere / "b").write_text('{"n": 1}\n\n{"n": 2}\n')
    ids = vcache("jobs", "submit", "k", "--batch", "b", "--priority", "low").stdout.split()
    assert [(job_of(queue, each).spec.payload, job_of(queue, each).spec.priority) for each in ids] == [
        ({"n": 1}, 3), ({"n": 2}, 3),
    ]  # fmt: skip
    text = (
        '{"kind": "a", "payload": {"n": 1}, "delay": "10s", "tags": ["t"]}\n{"kind": "b", "unique": true}\n'
    )
    (found,) = rows(vcache("jobs", "submit", "--batch", "-", "--json", stdin=text).stdout)
    one, other = (job_of(queue, str(each)).spec for each in found["ids"])  # type: ignore[attr-defined]
    assert (one.kind, one.payload, [*one.tags]) == ("a", {"n": 1}, ["t"]) and one.not_before_ns
    assert other.kind == "b" and other.unique.startswith("b:")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "b:2: no JSON"), ("[1]", "b:2: a payload is an object"), ('{"payload": {}}', "b:2: the kind is missing"),
        ('{"kind": "k", "prioriti": 1}', "'priority'"), ('{"kind": "k", "priority": "urgent"}', "b:2: job 'k': unknown"),
        ('{"kind": "k", "payload": 3}', "b:2: the payload is no object"), ('{"kind": "k", "at": "soon"}', "--at 'soon'"),
        ('{"kind": "k", "retries": "3"}', "retries='3'"), ('{"kind": "k", "after": "x"}', "give a list"),
        ('{"kind": "k", "delay": [1]}', "delay"),
    ],
)  # fmt: skip
def test_a_batch_with_a_slip_submits_nothing(vcache, queue, elsewhere: Path, line, said):
    """The file, the line and the slip"""
    (elsewhere / "b").write_text(f'{{"kind": "k"}}\n{line}\n')
    result = vcache("jobs", "submit", "--batch", "b")
    assert result.exit_code == 2
    assert said in result.stderr
    assert queue.stats().by_state.get(State.QUEUED, 0) == 0


def test_bad_json_shows_the_place(vcache, queue, elsewhere: Path):
    """The line, and a caret under the place, also in a long line"""
    result = vcache("jobs", "submit", "k", "-p", '{"to": oops}')
    assert result.exit_code == 2
    head, line, caret = result.stderr.splitlines()
    assert head == "vcache: error: --payload: no JSON: Expecting value in column 8"
    assert line[caret.index("^")] == "o"
    (elsewhere / "p.json").write_text('{"a": 1,\n "b": ' + " " * 500 + "?" + " " * 500 + "}")
    head, line, caret = vcache("jobs", "submit", "k", "-p", "@p.json").stderr.splitlines()
    assert "p.json: no JSON: Expecting value in line 2, column 507" in head
    assert line[caret.index("^")] == "?" and len(line) < 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "which KIND?"), (("k", "a"), "'a' is no field"), (("k", "=1"), "'=1' is no field"),
        (("k", "a:={"), "field a: no JSON"), (("k", "-p", "[1]"), "not a list"), (("k", "-p", '"x"'), "not text"),
        (("k", "-p", '{"a": NaN}'), "NaN"), (("k", "--at", "soon"), "--at 'soon' is no time"),
        (("k", "--delay", "soon"), "delay"), (("k", "--delay", "1s", "--at", "2100-01-01"), "both delay"),
        (("k", "--deadline", "2001-01-01"), "past already"), (("k", "--timeout", "0"), "timeout=0"),
        (("k", "--batch", "b", "a=1"), "--batch"), (("k", "--at", "9999999999999999999"), "--at"),
        (("k", "-p", '{"a": 18446744073709551616}'), "64 bits"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant(vcache, queue, words, said):
    """A usage error that names it; nothing is submitted"""
    result = vcache("jobs", "submit", *words)
    assert result.exit_code == 2
    assert said in result.stderr
    assert queue.stats().by_state.get(State.QUEUED, 0) == 0


def test_a_file_that_is_not_there(vcache, queue):
    """Its name, and exit code 1"""
    for words in (("-p", "@none.json"), ("--batch", "none.json")):
        result = vcache("jobs", "submit", "k", *words)
        assert result.exit_code == 1
        assert "none.json: No such file" in result.stderr


def test_submit_may_wait(vcache, queue, monkeypatch):
    """The result in place of the id; how it ended is the exit code"""
    monkeypatch.setattr(
        "vcache.cli.jobs.watch.time.sleep", lambda _s: attempt(queue, Event.COMPLETE, result={"n": 1})
    )
    result = vcache("jobs", "submit", "a", "--wait")
    assert (result.exit_code, result.stdout) == (0, '{"n": 1}\n')
    monkeypatch.setattr(
        "vcache.cli.jobs.watch.time.sleep", lambda _s: attempt(queue, Event.GIVE_UP, message="no such host")
    )
    result = vcache("jobs", "submit", "a", "--wait")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "ValueError: no such host" in result.stderr


@pytest.mark.parametrize("command", ["submit", "watch"])
@pytest.mark.parametrize("kinds", [(), ("resize", "email.*")])
def test_who_waits_is_told_that_nobody_takes_it(vcache, queue, monkeypatch, command, kinds):
    """Once, after a moment, with what is taken; not where somebody takes it, nor of what is not to start yet"""
    looks: list[float] = []

    def pass_time(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) % 4 == 0:
            queue.cancel([each.id for each in queue.list(State.QUEUED).jobs])

    monkeypatch.setattr("vcache.cli.jobs.watch.time.sleep", pass_time)
    monkeypatch.setattr("vcache.cli.jobs.takers._PATIENCE_S", 0.0)
    if kinds:
        queue.open_session("host:1", kinds=kinds, lease_s=10)

    def told(kind: str, **given: object) -> list[str]:
        if command == "watch":
            result = vcache("jobs", "watch", asked(queue, kind, None, **given))
        else:
            result = vcache("jobs", "submit", kind, "--wait", *(("--delay", "1h") if given else ()))
        return [line for line in result.stderr.splitlines() if "no worker" in line]

    who = "(1 worker: kinds email.*, resize)" if kinds else ": there is none"
    (line,) = told("a")
    assert line.startswith("vcache: no worker takes jobs of kind a")
    assert who in line and "vcache worker --kinds a" in line
    assert len(told("email.send")) == (0 if kinds else 1)
    assert told("a", not_before_ns=queue.now_ns() + 10**15) == []


# --- show, list ----------------------------------------------------------------------------------


def test_show_says_all(vcache, queue):
    """State, times, attempts, the result, and how to read its log"""
    job_id = asked(queue, payload={"to": "a@b", "n": 2}, priority=1, tags=("x", "y"))
    attempt(queue, Event.COMPLETE, result={"sent": True})
    result = vcache("jobs", "show", job_id)
    assert result.exit_code == 0
    found = dict(line.split(maxsplit=1) for line in result.stdout.splitlines())
    assert (found["kind"], found["state"], found["priority"]) == ("email.send", "completed", "high")
    assert (found["payload"], found["result"]) == ('{"to": "a@b", "n": 2}', '{"sent": true}')
    assert (found["attempts"], found["tags"], found["worker"]) == ("1", "x y", "host:1")
    assert found["log"] == f"vcache jobs log {job_id}"


def test_show_has_the_evidence(vcache, queue):
    """Each failure with its traceback; what it says does nothing to a terminal"""
    job_id = asked(queue)
    attempt(queue, Event.GIVE_UP, message="no such host\x1b[2J")
    text = vcache("jobs", "show", job_id).stdout
    assert "on host:1: error: no such host␛[2J\n    Traceback (most recent call last):" in text
    assert "    ValueError: no such host\n" in text
    (found,) = rows(vcache("jobs", "show", "--json", job_id).stdout)
    assert (found["state"], found["id"]) == ("dead", job_id)
    assert found["failures"][0]["traceback"] == TRACEBACK  # type: ignore[index]


@pytest.mark.parametrize("words", [("show", "nine"), ("cancel", "nine"), ("retry", "nine"), ("watch", "nine"),
                                   ("dlq", "show", "nine"), ("dlq", "retry", "nine")])  # fmt: skip
def test_an_id_that_is_not_known(vcache, queue, words):
    """Exit code 1, and the queue in which it was looked for"""
    result = vcache("jobs", *words)
    assert result.exit_code == 1
    assert "there is no job 'nine' in mem:" in result.stderr


def test_list_shows_what_matters_first(vcache, queue):
    """What waits comes before what has ended; states and kinds choose; --limit bounds"""
    done = asked(queue)
    attempt(queue, Event.COMPLETE)
    dead = asked(queue)
    attempt(queue, Event.GIVE_UP, message="no")
    waiting, other = asked(queue), asked(queue, "resize")
    lines = vcache("jobs", "list").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [waiting, other, dead, done]
    assert lines[2].endswith("no")
    assert [row["id"] for row in rows(vcache("jobs", "list", "-F", "json", "--limit", "2").stdout)] == [
        waiting,
        other,
    ]
    assert [row["id"] for row in rows(vcache("jobs", "list", "--json", "-k", "resize").stdout)] == [other]
    assert [row["id"] for row in rows(vcache("jobs", "list", "--json", "-s", "dead").stdout)] == [dead]
    assert vcache("jobs", "list", "-s", "blocked").stdout == ""


def test_list_goes_on_behind_a_page(vcache, queue, monkeypatch):
    """More jobs than a page has"""
    monkeypatch.setattr("vcache.cli.jobs.looking._PAGE", 2)
    ids = [asked(queue) for _ in range(5)]
    assert [row["id"] for row in rows(vcache("jobs", "list", "--json").stdout)] == ids


# --- cancel, retry, dlq --------------------------------------------------------------------------


def test_cancel_and_retry(vcache, queue):
    """The ids of what was done; what could not be says why, and the exit code is 1"""
    first = asked(queue)
    second = asked(queue, after=(first,))
    assert vcache("jobs", "cancel", first, "--why", "too late").stdout.split() == [first, second]
    assert "cancelled: too late" in vcache("jobs", "show", first).stdout
    result = vcache("jobs", "cancel", first)
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"job {first} is cancelled: it cannot be cancelled" in result.stderr
    assert rows(vcache("jobs", "retry", first, "--json").stdout) == [{"queued": [first]}]
    assert job_of(queue, first).state is State.QUEUED


def test_retry_may_keep_the_attempts(vcache, queue):
    """--keep-attempts: what was tried goes on counting"""
    job_id = asked(queue)
    for words, attempts in (((), 0), (("--keep-attempts",), 1)):
        attempt(queue, Event.GIVE_UP, message="no")
        assert vcache("jobs", "retry", job_id, *words).exit_code == 0
        assert job_of(queue, job_id).attempts == attempts


def test_the_dead_letter_queue(vcache, queue):
    """Listed with the last words, shown with evidence, retried by kind or all, purged when somebody says so"""
    assert "nothing is dead" in vcache("jobs", "dlq").stderr
    dead = [asked(queue, kind) for kind in ("a", "b", "b")]
    for _ in dead:
        attempt(queue, Event.GIVE_UP, message="no such host")
    assert vcache("jobs", "dlq").stdout == vcache("jobs", "dlq", "list").stdout
    assert vcache("jobs", "dlq").stdout.count("no such host") == 3
    assert len(rows(vcache("jobs", "dlq", "list", "--json", "-k", "b").stdout)) == 2
    assert "Traceback" in vcache("jobs", "dlq", "show", dead[0]).stdout
    assert vcache("jobs", "dlq", "retry").exit_code == 2
    assert vcache("jobs", "dlq", "retry", "--all", dead[0]).exit_code == 2
    assert vcache("jobs", "dlq", "retry", dead[1]).stdout.split() == [dead[1]]
    assert vcache("jobs", "dlq", "retry", "-k", "b").stdout.split() == [dead[2]]
    refused = vcache("jobs", "dlq", "purge")
    assert refused.exit_code == 2 and "--yes" in refused.stderr
    assert rows(vcache("jobs", "dlq", "purge", "--yes", "--before", "1h", "--json").stdout) == [{"purged": 0}]
    assert rows(vcache("jobs", "dlq", "purge", "--yes", "--json").stdout) == [{"purged": 1}]
    assert vcache("jobs", "show", dead[0]).exit_code == 1


def test_purge(vcache, queue):
    """Of one state, of one kind, and nothing that has not ended"""
    for kind in ("a", "b"):
        asked(queue, kind)
        attempt(queue, Event.COMPLETE)
    assert vcache("jobs", "purge", "--yes").exit_code == 2
    assert vcache("jobs", "purge", "--yes", "-s", "queued").exit_code == 2
    assert vcache("jobs", "purge", "-s", "completed").exit_code == 2
    assert rows(vcache("jobs", "purge", "--yes", "-s", "cancelled", "--json").stdout) == [{"purged": 0}]
    assert rows(vcache("jobs", "purge", "--yes", "-s", "completed", "-k", "a", "--json").stdout) == [
        {"purged": 1}
    ]
    assert [row["kind"] for row in rows(vcache("jobs", "list", "--json").stdout)] == ["b"]


# --- stats, limit --------------------------------------------------------------------------------


def test_stats(vcache, queue):
    """How many in which state, what came of each kind, and who works"""
    asked(queue, priority=1)
    asked(queue, not_before_ns=queue.now_ns() + 10**15)
    text = vcache("jobs", "stats").stdout
    assert "no worker is there: start one with `vcache worker" in text
    session = queue.open_session("host:7", kinds=["email.send"], lease_s=10)
    text = vcache("jobs", "stats").stdout
    assert "queued            2\n" in text and "delayed           1\n" in text
    assert "1 high" in text and "host:7" in text
    (found,) = rows(vcache("jobs", "stats", "--json").stdout)
    assert found["waiting"] == {"email.send": {"high": 1}}
    assert found["sessions"][0]["worker"] == "host:7"  # type: ignore[index]
    assert found["totals"]["email.send"]["submitted"] == 2  # type: ignore[index]
    queue.end_session(session)


@pytest.mark.parametrize(
    ("text", "rate"), [("10/s", 10), ("30/m", 0.5), ("36/1h", 0.01), ("2.5", 2.5), ("6 / 2m", 0.05)]
)
def test_rates(vcache, queue, text, rate):
    """A number per time"""
    (found,) = rows(vcache("jobs", "limit", "email.send", "--rate", text, "--json").stdout)
    assert found["email.send"] == {"rate": pytest.approx(rate), "burst": 0, "running": 0}


def test_limits(vcache, queue):
    """Set, shown, and taken away"""
    assert "no bounds" in vcache("jobs", "limit").stderr
    text = vcache("jobs", "limit", "email.send", "--rate", "10/s", "--burst", "20", "--running", "4").stdout
    assert text.split() == ["kind", "rate", "burst", "running", "email.send", "10/s", "20", "4"]
    assert vcache("jobs", "limit").stdout == text
    assert vcache("jobs", "limit", "other").stdout == ""
    assert vcache("jobs", "limit", "email.send", "--none").stdout == ""
    assert queue.limits().get("email.send") is None


@pytest.mark.parametrize("words", [("k", "--rate", "often"), ("k", "--rate", "0/s"), ("k", "--rate", "1/0s"), ("--running", "4"),
                                   ("k", "--burst", "2"), ("k", "--none", "--running", "2"), ("k", "--rate", "nan")])  # fmt: skip
def test_limits_that_make_no_sense(vcache, queue, words):
    """A usage error"""
    result = vcache("jobs", "limit", *words)
    assert result.exit_code == 2
    assert queue.limits() == {}


# --- watch ---------------------------------------------------------------------------------------


def test_watch_of_what_has_ended(vcache, queue):
    """The result on standard output and exit code 0; failures on standard error and 1"""
    done = asked(queue)
    attempt(queue, Event.COMPLETE, result=[1, 2])
    result = vcache("jobs", "watch", done)
    assert (result.exit_code, result.stdout) == (0, "[1, 2]\n")
    assert "email.send completed in" in result.stderr
    dead = asked(queue)
    attempt(queue, Event.GIVE_UP, message="no such host")
    result = vcache("jobs", "watch", dead)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "ValueError: no such host" in result.stderr
    assert f"job {dead} is dead" in result.stderr
    assert rows(vcache("jobs", "watch", "--json", dead).stdout)[-1]["state"] == "dead"
    assert vcache("jobs", "watch").exit_code == 2
    assert vcache("jobs", "watch", "--all", dead).exit_code == 2


def test_watch_tells_each_change_once(vcache, queue, monkeypatch):
    """One line for each change where lines do not change in place"""
    job_id = asked(queue)
    session = queue.open_session("host:1", kinds=KINDS, lease_s=10)
    claimed = queue.exchange(session, kinds=KINDS, want=1).claimed[0]

    def half() -> None:
        queue.report(session, job_id, claimed.token, Progress(450, 1000, "thumbnails"))

    def end() -> None:
        queue.exchange(session, [Finished(claimed, Event.COMPLETE)])

    steps = iter([lambda: None, half, lambda: None, end])
    monkeypatch.setattr("vcache.cli.jobs.watch.time.sleep", lambda _s: next(steps)())
    result = vcache("jobs", "watch", job_id)
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[:2] == [
        "vcache: email.send running",
        "vcache: email.send running 45% (450 of 1,000) thumbnails",
    ]
    assert len(lines) == 3


def test_watch_of_all_until_nothing_is_left(vcache, queue, monkeypatch):
    """A line for each change; it ends when nothing waits or runs"""
    asked(queue)
    monkeypatch.setattr("vcache.cli.jobs.watch.time.sleep", lambda _s: attempt(queue, Event.COMPLETE))
    result = vcache("jobs", "watch", "--all", "--until-empty")
    assert result.exit_code == 0
    first, last = result.stdout.splitlines()
    assert "queued 1" in first and "completed 0" in first
    assert "queued 0" in last and "completed 1" in last


def test_watch_of_all_bears_a_queue_that_is_away(vcache, queue, monkeypatch):
    """It is said once, and the watch goes on"""
    answers = iter([StoreUnavailable("redis does not answer"), StoreUnavailable("still not"), None])
    stats = queue.stats

    def stats_or_not() -> object:
        error = next(answers)
        if error is not None:
            raise error
        return stats()

    monkeypatch.setattr(queue, "stats", stats_or_not)
    monkeypatch.setattr("vcache.cli.jobs.watch.time.sleep", lambda _s: None)
    result = vcache("jobs", "watch", "--all", "--until-empty")
    assert result.exit_code == 0
    assert result.stderr == "vcache: redis does not answer\n"
    assert len(result.stdout.splitlines()) == 1


def test_a_board_changes_in_place(monkeypatch):
    """What was shown is replaced; too much is cut"""
    screen = Screen()
    monkeypatch.setattr("vcache.cli.jobs.watch.terminal_size", lambda _stream: (10, 3))
    board = Board(screen)
    board.show(["one", "two"])
    board.show(["three-is-too-long", "four", "never"])
    assert screen.shown == ["three-is-", "four"]
    board.show(["five"])
    assert screen.shown == ["five"]
    board.clear()
    assert screen.shown == []


# --- schedule ------------------------------------------------------------------------------------


def test_schedules(vcache, queue):
    """Made, listed, shown, paused, resumed, fired by hand, removed"""
    result = vcache(
        "schedule", "add", "nightly", "daily 02:00", "report.make", "day=monday", "--zone", "Europe/Berlin"
    )
    assert result.exit_code == 0 and result.stdout.startswith("nightly: 2")
    header, line = vcache("schedule", "list").stdout.splitlines()
    assert header.split() == ["name", "when", "zone", "kind", "next", "fired"]
    assert "Europe/Berlin" in line and line.split()[-1] == "0"
    (found,) = rows(vcache("schedule", "show", "nightly", "--json").stdout)
    assert (found["payload"], found["misfire"]) == ({"day": "monday"}, "once")
    assert vcache("schedule", "pause", "nightly").stdout == "nightly: paused\n"
    assert "paused" in vcache("schedule", "list").stdout
    job_id = vcache("schedule", "fire", "nightly").stdout.strip()
    assert job_of(queue, job_id).kind == "report.make"
    assert vcache("schedule", "resume", "nightly").stdout.startswith("nightly: 2")
    text = vcache("schedule", "show", "nightly").stdout
    assert f"last job  {job_id}" in text and "fired     1" in text
    assert vcache("schedule", "rm", "nightly").exit_code == 0
    assert vcache("schedule", "rm", "nightly").exit_code == 1
    assert vcache("schedule", "show", "nightly").exit_code == 1
    assert "no schedule" in vcache("schedule", "list").stderr
    assert vcache("schedule", "pause", "nightly").exit_code == 2


def test_the_coming_times_of_a_when(vcache):
    """In the zone that is asked for; as nanoseconds for programs"""
    lines = vcache(
        "schedule", "next", "weekly mon 09:30", "--zone", "Europe/Berlin", "--count", "2"
    ).stdout.splitlines()
    assert len(lines) == 2
    assert all(line.startswith("Mon ") and " 09:30:00 +0" in line for line in lines)
    (found,) = rows(vcache("schedule", "next", "every 30s", "--json").stdout)
    assert isinstance(found, list) and {b - a for a, b in pairwise(found)} == {30 * 10**9}
    result = vcache("schedule", "next", "sometimes")
    assert result.exit_code == 2 and "sometimes" in result.stderr


# --- completion ----------------------------------------------------------------------------------


def test_kinds_ids_and_schedules_are_completed(vcache, queue, monkeypatch):
    """By what the queue knows; a queue that cannot be asked completes nothing"""
    job_id = asked(queue)
    asked(queue, "resize")
    vcache("schedule", "add", "nightly", "daily 02:00", "report.make")
    complete = ShellComplete(cli, {}, "vcache", "_VCACHE_COMPLETE")

    def words(*typed: str) -> list[str]:
        return [item.value for item in complete.get_completions([*typed[:-1]], typed[-1])]

    assert words("jobs", "submit", "em") == ["email.send"]
    assert words("jobs", "cancel", job_id[:8]) == [
        job_id,
        *(each for each in words("jobs", "show", job_id[:8]) if each != job_id),
    ]
    assert words("jobs", "list", "--state", "de") == ["dead"]
    assert words("jobs", "list", "--kind", "re") == ["resize"]
    assert words("jobs", "dlq", "show", "") == []
    assert words("schedule", "pause", "ni") == ["nightly"]
    monkeypatch.setenv("VCACHE_MAX_BYTES", "lots")
    assert words("jobs", "submit", "em") == []
    assert words("schedule", "pause", "ni") == []


# --- errors --------------------------------------------------------------------------------------


def test_a_word_that_is_no_command(vcache):
    """The nearest is named"""
    result = vcache("jobs", "sumbit")
    assert result.exit_code == 2 and "'submit'" in result.stderr
    assert vcache("schedule", "ad").exit_code == 2


def test_an_address_that_means_nothing(vcache):
    """A usage error that hides the password"""
    result = vcache("jobs", "stats", "--queue", "rabbit://u:secret@h/")
    assert result.exit_code == 2
    assert "rabbit" in result.stderr and "secret" not in result.stderr


# --- doctor --------------------------------------------------------------------------------------


def test_the_doctor_looks_at_the_queue(vcache, queue, tmp_path: Path):
    """Which one it is, whether it answers, and what is to be seen to; one that nobody made is not made"""

    def said() -> str:
        text: str = vcache("doctor").stdout
        return next(line for line in text.splitlines() if line.split()[1] == "queue")

    assert "no job was asked for yet" in said()
    assert not (tmp_path / "cache").exists()
    (tmp_path / "cache" / "jobs").mkdir(parents=True)
    assert said().startswith("ok ") and f"sqlite:{tmp_path}/cache/jobs answers in" in said()
    asked(queue)
    assert "1 jobs wait, 0 workers: start one with vcache worker" in said()
    attempt(queue, Event.GIVE_UP, message="no")
    assert "1 jobs are dead: see vcache jobs dlq" in said()


def test_a_queue_that_does_not_answer_is_bad(vcache, monkeypatch):
    """Exit code 1, the address without its password"""
    monkeypatch.setenv("VCACHE_QUEUE", "redis://:secret@127.0.0.1:1/0")
    result = vcache("doctor", "--json")
    assert result.exit_code == 1 and "secret" not in result.stdout
    (found,) = (each for each in json.loads(result.stdout)["findings"] if each["what"] == "queue")
    assert found["level"] == "bad" and "127.0.0.1:1" in found["detail"]
    (row,) = (each for each in json.loads(result.stdout)["settings"] if each["key"] == "queue")
    assert "secret" not in row["value"]


# --- worker --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "place"),
    [("127.0.0.1:9100", ("127.0.0.1", 9100)), (":9100", ("127.0.0.1", 9100)), ("9100", ("127.0.0.1", 9100)),
     ("[::1]:0", ("::1", 0))],
)  # fmt: skip
def test_where_metrics_are(text, place):
    """A host and a port, or a port alone"""
    assert place_in(text) == place


@pytest.mark.parametrize("text", ["", "host", "host:", "host:70000", "host:-1"])
def test_where_metrics_cannot_be(text):
    """A usage error that names the value"""
    with pytest.raises(UsageError, match="--metrics"):
        place_in(text)


def test_metrics_are_exposed():
    """At /metrics, and nowhere else"""
    with exposed(("127.0.0.1", 0), lambda: b"x 1\n") as port:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
            assert answer.read() == b"x 1\n"
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/x", timeout=60)
        with (
            pytest.raises(OSError, match=f"--metrics 127.0.0.1:{port}: Address already in use"),
            exposed(("127.0.0.1", port), lambda: b""),
        ):
            pass


def test_a_worker_exposes_what_its_queue_holds(queue, monkeypatch):
    """As it is at each look; what is gone is 0; what was seen stays while the queue does not answer"""
    depths = Depths(queue, Metrics(is_required=True))
    session = queue.open_session("host:1", kinds=["a"], lease_s=10)
    asked(queue, "a")
    assert 'vcache_queue_depth{kind="a",priority="medium"} 1.0' in depths.text().decode()
    assert 'vcache_jobs_submitted_total{kind="a",priority="medium"} 1.0' in depths.text().decode()
    (claimed,) = queue.exchange(session, kinds=["a"], want=1).claimed
    text = depths.text().decode()
    assert 'vcache_queue_depth{kind="a",priority="medium"} 0.0' in text
    assert "vcache_active_jobs 1.0" in text
    queue.exchange(session, [Finished(claimed, Event.GIVE_UP, None, Failure(0, 1, "error", "no"))])
    text = depths.text().decode()
    assert "vcache_active_jobs 0.0" in text
    assert "vcache_dlq_depth 1.0" in text

    def away() -> None:
        raise StoreUnavailable("away")

    monkeypatch.setattr(queue, "stats", away)
    assert "vcache_dlq_depth 1.0" in depths.text().decode()


def test_a_worker_exposes_what_its_queue_was_given(queue, monkeypatch):
    """By whomever, since it was made; a counter goes on where the queue was made anew"""
    metrics = Metrics(is_required=True)
    depths = Depths(queue, metrics)

    def counted() -> float:
        (line,) = (each for each in depths.text().decode().splitlines() if each.startswith(name))
        return float(line.removeprefix(name))

    name = 'vcache_jobs_submitted_total{kind="a",priority="critical"}'
    asked(queue, "a", priority=0)
    assert [counted(), counted()] == [1, 1]
    asked(queue, "a", priority=0)
    asked(queue, "a")
    assert counted() == 2
    with MemoryQueue() as other:
        asked(other, "a", priority=0)
        monkeypatch.setattr(queue, "stats", other.stats)
        assert [counted(), counted()] == [3, 3]


def test_when_a_burst_is_over(queue):
    """Nothing of its kinds waits, is to be tried again, or is held; what is delayed does not count"""
    session = queue.open_session("host:1", kinds=["a"], lease_s=10)
    asked(queue, "b")
    asked(queue, "a", not_before_ns=queue.now_ns() + 10**15)
    assert is_empty(queue, session, ["a"])
    assert not is_empty(queue, session, ["a", "b"])
    assert not is_empty(queue, "", ["a"])
    asked(queue, "a")
    (claimed,) = queue.exchange(session, kinds=["a"], want=1).claimed
    assert not is_empty(queue, session, ["a"])
    queue.exchange(session, [Finished(claimed, Event.TRY_AGAIN, None, Failure(0, 1, "error", "no"), 1000)])
    assert not is_empty(queue, session, ["a"])
