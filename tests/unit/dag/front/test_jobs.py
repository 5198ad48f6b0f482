"""Job nodes: what they are known by, what they wait for, and what becomes of their results."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.dag.front.project import Notebook, Project
from vcache.dag.errands import Answer, Errand
from vcache.dag.events import Finished, Hit, Output
from vcache.dag.node import Told
from vcache.dag.nodelogs import recall
from vcache.errors import GraphError, NodeFailed


class Place:
    """Does errands at once, and remembers them."""

    def __init__(self) -> None:
        self.errands: list[Errand] = []
        self.answer: Callable[[Errand], object] = lambda errand: dict(errand.payload)
        self.told = Told()
        self.stops = 0

    def run(self, errand: Errand) -> Answer:
        self.errands.append(errand)
        return Answer(self.answer(errand), self.told)

    def stop(self) -> None:
        self.stops += 1


@pytest.fixture
def place(project: Project) -> Place:
    project.jobs = made = Place()
    return made


def test_a_known_job_is_not_asked_for(project: Project, place: Place):
    """The first run asks, the second remembers; another payload, version or kind is another job."""
    text = 'build.job("mail", payload={"to": "ann", "n": 1}, name="it")'
    project.load(text)
    assert project.run().ran == {"it: job"}
    assert project.value("it") == {"to": "ann", "n": 1}
    assert project.run().ran == set()
    assert project.hits == {"it", "it: job"}
    for other in (('"ann"', '"bob"'), ('"mail"', '"post"'), ('name="it"', 'name="it", version=2')):
        project.load(text.replace(*other))
        assert project.run().ran == {"it: job"}
    assert len(place.errands) == 4
    assert len({errand.key for errand in place.errands}) == 4


def test_what_was_said_is_kept_with_the_result(project: Project, place: Place):
    """A run that makes it and one that finds it say the same; the latter marks it, and says where it is from."""
    place.told = Told(((1, 5, b"tried\n"), (1, 70, b"job 7 completed\n")), "run-1")
    place.answer = lambda errand: "text"
    text = 'build.job("mail", payload={}, outs=["mail.txt"])'
    project.load(text)
    project.run()
    (made,) = said(project)
    assert (made.node.name, made.chunks, made.is_replayed) == ("mail.txt: job", place.told.chunks, False)
    (finished,) = (each for each in project.events if isinstance(each, Finished) and each.log)
    assert recall(project.cache, finished.log.hex()) == place.told.chunks
    project.run()
    assert said(project) == []  # up to date, as of a command
    (project.base / "mail.txt").unlink()
    project.tree = Notebook()
    project.run()
    assert project.ran == set()
    (found,) = said(project)
    assert (found.node.name, found.chunks) == (made.node.name, made.chunks)
    assert (found.is_replayed, found.origin, found.at_ns - found.started_ns) == (True, "run-1", 70)
    (hit,) = (each for each in project.events if isinstance(each, Hit) and each.log)
    assert (hit.log, hit.origin) == (finished.log, "run-1")


def test_logs_are_of_jobs_too(project: Project, place: Place):
    """A node that reads logs has what was said of a job, also when that was made long ago."""
    place.told = Told(((1, 0, b"job 7 completed\n"),))
    text = """
        it = build.job("mail", payload={}, name="it")
        @build.log(of=[it])
        def lines(found): return [%d, *(each.text for each in found)]
        build.default(lines())
        """
    for version in (1, 2):
        project.load(text % version)
        project.run()
        assert project.value("lines") == [version, "job 7 completed"]


def said(project: Project) -> list[Output]:
    return [each for each in project.events if isinstance(each, Output)]


def test_options_of_the_queue_do_not_count(project: Project, place: Place):
    """How urgent it is and how often it is tried changes nothing of its result; the errand has them."""
    project.load('build.job("mail", payload={}, priority="high", timeout="5s", retries=1)')
    project.run()
    (errand,) = place.errands
    assert (errand.priority, errand.timeout_s, errand.retries, errand.node) == ("high", 5.0, 1, "mail")
    project.load('build.job("mail", payload={}, priority="low")')
    assert project.run().ran == set()


def test_a_function_gives_the_payload(project: Project, place: Place):
    """Each call with other arguments is a job; values among them are there by then."""
    project.load(
        """
        @build.value
        def who(): return "ann"
        @build.job("mail")
        def send(to, again=0): return {"to": to, "text": f"hello {to}"}
        @build.value
        def both(one, two): return [one["text"], two["text"]]
        build.default(both(send(who()), send("bob")))
        """
    )
    project.run()
    assert project.value("both") == ["hello ann", "hello bob"]
    assert sorted(str(errand.payload["to"]) for errand in place.errands) == ["ann", "bob"]
    assert project.run().ran == set()


def test_a_payload_may_name_values_and_await_them(project: Project, place: Place):
    """Jobs of jobs: what another one gave stands in the payload."""
    project.load(
        """
        first = build.job("one", payload={"n": 1})
        @build.job("two")
        async def second(x):
            found = await first
            return {"n": found["n"] + x}
        build.default(build.job("three", payload={"of": second(2), "list": [first]}, name="end"))
        """
    )
    project.run()
    assert [errand.kind for errand in place.errands] == ["one", "two", "three"]
    assert project.value("end") == {"of": {"n": 3}, "list": [{"n": 1}]}


def test_files_count_by_what_is_in_them(project: Project, place: Place):
    """A file in the payload travels by its name; its content, and that of needs, is what counts."""
    project.write(a="1", b="2")
    project.load(
        """
        @build.step(outs=["made"])
        def made(): return sh("cp b made")
        build.job("read", payload={"file": File("a")}, needs=[made(), "b"], name="it")
        """
    )
    project.run()
    assert place.errands[0].payload == {"file": "a"}
    assert project.run().ran == set()
    for name in ("a", "b"):
        project.file(name, "other")
        assert "it: job" in project.run().ran
    assert len(place.errands) == 3


def test_a_value_that_is_needed_counts(project: Project, place: Place):
    """Also where no payload names it."""
    text = '@build.value\ndef v(): return 1\nbuild.job("x", payload={}, needs=[v()], name="it")'
    project.load(text)
    project.run()
    project.load(text.replace("return 1", 'return len("x")'))
    assert project.run().ran == {"v"}
    project.load(text.replace("return 1", "return 2"))
    assert project.run().ran == {"v", "it: job"}


def test_the_code_of_a_handler_counts(project: Project, place: Place):
    """A kind that is given by its function is asked for again when that changes."""
    module = """
    from vcache.jobs.handlers import job
    @job("mail.send")
    def send(to: str) -> str:
        return "to " + to
    """
    project.file("my_handlers.py", module)
    project.load('from my_handlers import send\nbuild.job(send, payload={"to": "ann"}, name="it")')
    assert project.run().ran == {"it: job"}
    assert place.errands[0].kind == "mail.send"
    assert project.run().ran == set()
    project.file("my_handlers.py", module.replace('"to "', '"for "'))
    assert project.run().ran == {"it: job"}
    project.load('from my_handlers import send\nbuild.job(send, payload={"too": "ann"}, name="it")')
    assert "too" in project.run(status=1).error


def test_results_are_written_and_put_back(project: Project, place: Place):
    """An output is the result's text; it is restored where it is gone."""
    place.answer = lambda errand: "text\n"
    project.load(
        """
        page = build.job("render", payload={}, outs=["out/page.html"])
        @build.step(outs=["copy"])
        def copy(page): return cmd("cp", page, "copy")
        build.default(copy(page))
        """
    )
    project.run()
    assert project.read("copy") == "text\n"
    (project.base / "out" / "page.html").unlink()
    project.run()
    assert project.read("out/page.html") == "text\n"
    assert len(place.errands) == 1


@pytest.mark.parametrize("value", [None, {"out/a": "x"}, {"out/a": 1, "out/b": "x"}])
def test_a_result_that_cannot_be_written_fails_the_node(project: Project, place: Place, value: object):
    """And nothing of it is kept."""
    place.answer = lambda errand: value
    project.load('build.job("render", payload={}, outs=["out/a", "out/b"])')
    assert "text or bytes" in project.run(status=1).error
    place.answer = lambda errand: {"out/a": b"1", "out/b": "2"}
    project.run()
    assert (project.read("out/a"), project.read("out/b")) == ("1", "2")


def test_a_failure_is_the_nodes(project: Project, place: Place):
    """With its evidence; it is asked for again in the next run."""

    def fail(errand: Errand) -> object:
        raise NodeFailed("job 7 is dead: boom")

    place.answer = fail
    project.load('build.job("x", payload={})')
    assert project.run(status=1).error == "job 7 is dead: boom"
    place.answer = lambda errand: 1
    assert project.run().ran == {"x: job"}


def test_a_dry_run_asks_for_nothing(project: Project, place: Place):
    """What is known is told, what is not would run; so would all that depends on it."""
    project.load('known = build.job("x", payload={}, name="known")')
    project.run()
    project.load(
        """
        known = build.job("x", payload={}, name="known")
        new = build.job("y", payload={"n": known}, name="new")
        @build.value
        def last(new): return new
        build.default(last(new))
        """
    )
    project.jobs = None
    project.run(dry=True)
    assert "known: job" in project.hits
    assert project.ran == {"new: job"}
    assert "no place for jobs" in project.run(status=1).error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("build.job(7, payload={})", "give the kind of job as text"),
        ('build.job("x", payload={}, nedes=[])', "did you mean 'needs'"),
        ('build.job("x", payload={}, needs="a")', "give a list"),
        ('build.job("x", payload={}, outs=["../a"])', "outside"),
        ('build.job("x", payload={}, timeout="soon")', "timeout"),
        ('build.job("x")(3)', "is no function"),
    ],
)
def test_what_makes_no_sense_is_refused(project: Project, text: str, words: str):
    """When the file is read, with its line."""
    with pytest.raises(GraphError, match=words) as caught:
        project.load(text)
    assert "vcachefile.py:2" in str(caught.value)


def test_a_payload_is_a_mapping(project: Project, place: Place):
    """A function that gives something else fails its node."""
    project.load('@build.job("x")\ndef f(): return 3\nbuild.default(f)')
    assert "give a mapping" in project.run(status=1).error


def test_results_are_shared_between_checkouts(project: Project, place: Place, tmp_path: Path):
    """Another checkout with the same files has the result."""
    other = Project(tmp_path / "q", tmp_path / "cache")
    other.jobs = place
    for each in (project, other):
        each.file("a", "1")
        each.load('build.job("x", payload={"f": File("a")}, outs=["o"])')
        place.answer = lambda errand: "made"
        each.run()
    assert len(place.errands) == 1
    assert other.read("o") == "made"
