"""The page that shows jobs, in the system's Chromium: what people do with it, and what payloads try to do to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pages import EVIL, UNNAMED, chromium, watched
from tests.servers import vcache_serve
from vcache.jobs import Jobs
from vcache.jobs.base import Claimed, Finished
from vcache.jobs.models import Failure, Progress
from vcache.jobs.remote.line import Line
from vcache.jobs.remote.queue import RemoteQueue
from vcache.jobs.states import Event
from vcache.server.callers import Role
from vcache.server.tokens import TokenFile
from vcache.store.http.client import HttpClient

pytestmark = pytest.mark.e2e

LEASE_S = 60.0


class Worker:
    """One who works by hand: holds what it claimed until a test says what became of it."""

    def __init__(self, jobs: Jobs, name: str) -> None:
        self.jobs, self.name = jobs, name
        self.session = jobs.queue.open_session(name, kinds=(), lease_s=LEASE_S)

    def take(self, kind: str) -> Claimed:
        """The next job of a kind."""
        (claimed,) = self.jobs.queue.exchange(self.session, kinds=(kind,), want=1).claimed
        return claimed

    def end(self, claimed: Claimed, event: Event, message: str = "") -> None:
        """Say how a job ended."""
        queue = self.jobs.queue
        done = Finished(claimed, event, {"said": "well"})
        if event is not Event.COMPLETE:
            failure = Failure(
                queue.now_ns(), claimed.attempt, "error", message, f"Traceback: {message}", self.name
            )
            done = Finished(claimed, event, failure=failure)
        assert not queue.exchange(self.session, (done,)).refused


class Site(NamedTuple):
    """A server of one namespace, and who may do what there."""

    url: str
    tokens: Mapping[Role, str]

    def ask(self, method: str, path: str, body: object = None) -> httpx.Response:
        """Ask its API, as a builder."""
        headers = {"authorization": f"Bearer {self.tokens[Role.BUILDER]}"}
        return httpx.request(method, f"{self.url}/api/v1/{path}", json=body, headers=headers)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    place = tmp_path_factory.mktemp("served")
    file = TokenFile(place / "tokens.json")
    tokens = {role: file.add(role, "main")[1] for role in (Role.READER, Role.WRITER, Role.BUILDER)}
    with vcache_serve(place / "store", "--tokens", file.path) as server:
        yield Site(server.url, tokens)


@pytest.fixture(scope="module")
def jobs(site: Site) -> Iterator[Jobs]:
    client = HttpClient(site.url, headers=[("Authorization", f"Bearer {site.tokens[Role.BUILDER]}")])
    with Jobs(RemoteQueue(Line(client, "", remedy="a builder's token"))) as found:
        yield found


@pytest.fixture(scope="module")
def worker(jobs: Jobs) -> Worker:
    return Worker(jobs, "host:7")


@pytest.fixture(scope="module")
def tab(browser: Browser, site: Site) -> Iterator[Page]:
    with watched(browser, site.url) as made:
        made.goto(f"{site.url}/jobs/")
        enter(made, site.tokens[Role.BUILDER])
        yield made


@pytest.fixture
def page(tab: Page, site: Site) -> Page:
    tab.goto(f"{site.url}/jobs/")
    expect(tab.locator(".tile").first).to_be_visible()
    return tab


def enter(page: Page, token: str) -> None:
    page.fill("#token", token)
    page.keyboard.press("Enter")


def show(page: Page, place: str) -> None:
    page.evaluate("place => { location.hash = place; }", place)


def say(site: Site, job_id: str, message: str) -> None:
    assert site.ask("POST", "logs", {"message": message, "job": job_id, "source": "hand"}).status_code == 200


def test_queues_are_shown_as_they_change(page: Page, jobs: Jobs) -> None:
    """Numbers by state, kind and priority; a new job shows itself; a number leads to its jobs."""
    jobs.submit("mail.send", {"to": "ann"}, priority="high")
    jobs.submit("mail.send", delay="1h")
    row = page.get_by_role("row", name="mail.send")
    expect(row.locator("td").nth(2)).to_have_text("1")
    expect(page.locator(".tile.delayed b")).to_have_text("1")
    row.get_by_role("link").click()
    expect(page.locator("#view tbody tr")).to_have_count(2)
    expect(page.locator("#kind")).to_have_value("mail.send")


def test_jobs_come_in_pages(page: Page, jobs: Jobs) -> None:
    """Of a state and a kind, page by page; the way back leads back."""
    jobs.submit_many(jobs.spec("many", {"n": n}, tags=("blue",)) for n in range(60))
    page.keyboard.press("2")
    page.select_option("#kind", "many")
    rows = page.locator("#view tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("link", name="Next page").click()
    expect(rows).to_have_count(10)
    page.go_back()
    expect(rows).to_have_count(50)
    page.locator("#states").get_by_role("link", name="completed").click()
    expect(page.locator(".nothing")).to_have_text("There are none.")


def test_one_job_is_followed_to_its_end(page: Page, jobs: Jobs, worker: Worker, site: Site) -> None:
    """Its payload, how far it is and what it says, each as it comes; then its result."""
    job_id = jobs.submit("watched", {"big": 2**60 + 1, "raw": b"\0"}, timeout="30s")
    page.fill("#wanted", job_id)
    page.press("#wanted", "Enter")
    expect(page.locator(".json").first).to_contain_text('"$bytes": "AA=="')
    expect(page.locator(".json").first).to_contain_text(str(2**60 + 1))
    expect(page.locator(".badge")).to_have_text("queued")
    claimed = worker.take("watched")
    expect(page.locator(".badge")).to_have_text("running")
    jobs.queue.report(worker.session, job_id, claimed.token, Progress(1, 4, "a quarter"))
    expect(page.locator(".share")).to_have_text("25 %")
    jobs.queue.report(worker.session, job_id, claimed.token, Progress(3, 4, "nearly"))
    expect(page.get_by_role("progressbar", name="Progress")).to_have_js_property("value", 3)
    say(site, job_id, "at work")
    expect(page.locator("#lines .message")).to_have_text(["at work"])
    worker.end(claimed, Event.COMPLETE)
    expect(page.locator(".badge")).to_have_text("completed")
    expect(page.get_by_role("heading", name="Result")).to_be_visible()
    page.locator("#log-link").click()
    expect(page.locator("#query")).to_have_value(f'job = "{job_id}"')
    expect(page.locator(".row .message")).to_have_text(["at work"])


def test_dead_letters_are_seen_to(page: Page, jobs: Jobs, worker: Worker) -> None:
    """With their evidence; retried anew or with their attempts, cancelled, purged when it is meant."""
    ids = [jobs.submit("frail", {"n": n}) for n in range(3)]
    for _ in ids:
        worker.end(worker.take("frail"), Event.GIVE_UP, "it broke")
    page.keyboard.press("3")
    page.select_option("#kind", "frail")
    letters = page.locator(".letter")
    expect(letters).to_have_count(3)
    letters.first.locator("summary").click()
    expect(letters.first.locator(".traceback")).to_have_text("Traceback: it broke")
    first = letters.filter(has_text=ids[0])
    first.get_by_role("button", name="Retry", exact=True).click()
    expect(letters).to_have_count(2)
    letters.filter(has_text=ids[1]).get_by_role("button", name="Retry, attempts kept").click()
    expect(letters).to_have_count(1)
    attempts = [job.attempts for job in jobs.list("queued", kind="frail").jobs]
    assert sorted(attempts) == [0, 1]
    show(page, f"#id={ids[0]}")
    page.get_by_role("button", name="Cancel").click()
    page.locator("#sure").get_by_role("button", name="No").click()
    page.get_by_role("button", name="Cancel").click()
    page.locator("#sure").get_by_role("button", name="Yes").click()
    expect(page.locator(".badge")).to_have_text("cancelled")
    show(page, "#view=dead&kind=frail")
    page.get_by_role("button", name="Purge all").click()
    page.keyboard.press("Enter")
    expect(page.locator(".nothing")).to_have_text("There are no dead letters.")
    assert jobs.get(ids[2]) is None


def test_workers_are_shown_with_what_they_hold(page: Page, jobs: Jobs) -> None:
    """And what one holds is given to others by a button."""
    other = Worker(jobs, "host:8")
    job_id = jobs.submit("long")
    other.take("long")
    page.keyboard.press("4")
    row = page.get_by_role("row", name="host:8")
    expect(row.get_by_role("link", name="long")).to_have_attribute("href", f"#id={job_id}")
    row.get_by_role("button", name="Give back").click()
    page.keyboard.press("Enter")
    expect(row).to_have_count(0)
    job = jobs.get(job_id)
    assert job is not None and job.state == "queued"


def test_schedules_are_paused_and_run(page: Page, jobs: Jobs, site: Site) -> None:
    """The next tick of each; pause, resume, run now; the focus stays on the button."""
    wish = {"kind": "report", "when": "daily 02:00"}
    assert site.ask("PUT", "schedules/nightly", wish).status_code == 201
    page.keyboard.press("5")
    row = page.get_by_role("row", name="nightly")
    expect(row.locator("time")).to_be_visible()
    row.get_by_role("button", name="Pause").click()
    expect(row.locator(".badge")).to_have_text("paused")
    row.get_by_role("button", name="Resume").click()
    expect(row.locator("time")).to_be_visible()
    row.get_by_role("button", name="Run now").focus()
    page.keyboard.press("Enter")
    show(page, "#view=jobs&kind=report")
    expect(page.locator("#view tbody tr")).to_have_count(1)


def test_nothing_that_a_job_says_acts(page: Page, jobs: Jobs, worker: Worker, site: Site) -> None:
    """Scripts in kinds, payloads, tags, failures, progress and logs are text, wherever they are shown."""
    for text in EVIL:
        job_id = jobs.submit(text, {text: text}, tags=(text,), parent=text, unique=text)
        claimed = worker.take(text)
        jobs.queue.report(worker.session, job_id, claimed.token, Progress(1, 2, text))
        show(page, f"#id={job_id}")
        expect(page.locator("#view .progress")).to_be_visible()
        say(site, job_id, text)
        expect(page.locator("#lines .row")).to_have_count(1)
        worker.end(claimed, Event.GIVE_UP, text)
        expect(page.locator(".failure")).to_be_visible()
        assert _made(page) == 0
    for view, count in (("queues", len(EVIL)), ("jobs&state=dead", len(EVIL)), ("dead", len(EVIL))):
        show(page, f"#view={view}")
        expect(page.locator("#view .to, #view td a", has_text="pwned")).to_have_count(
            count - 1
        )  # one is bold
        assert _made(page) == 0
    assert page.evaluate("window.pwned") is None


def _made(page: Page) -> int:
    return page.locator("main script, main img, main svg, #view pre b, #view a[href^=javascript]").count()


def test_everything_can_be_done_by_keys(page: Page, jobs: Jobs) -> None:
    """Numbers to views, / to an id, j and k along jobs, Enter opens, ? helps; every control has a name."""
    jobs.submit_many(jobs.spec("keyed") for _ in range(3))
    show(page, "#view=jobs&kind=keyed")
    expect(page.locator("#view tbody tr")).to_have_count(3)
    assert page.evaluate(UNNAMED) == []
    for key in "jjk":
        page.keyboard.press(key)
    expect(page.locator("a.to").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="keyed")).to_be_visible()
    page.keyboard.press("/")
    expect(page.locator("#wanted")).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#helping")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Colours").click()
    page.get_by_role("button", name="Colours").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"


def test_who_may_only_look_sees_no_buttons(browser: Browser, jobs: Jobs, worker: Worker, site: Site) -> None:
    """A token is asked for; a reader's shows all and offers nothing; a writer's does not offer to purge."""
    jobs.submit("late")
    worker.end(worker.take("late"), Event.GIVE_UP, "too late")
    with watched(browser, site.url) as page:
        page.goto(f"{site.url}/jobs/#view=dead&kind=late")
        enter(page, site.tokens[Role.READER])
        expect(page.locator(".letter")).to_have_count(1)
        expect(page.locator("#who")).to_have_text("reader")
        expect(page.locator("main button")).to_have_count(0)
        page.get_by_role("button", name="Forget token").click()
        expect(page.locator(".letter")).to_have_count(0)
        enter(page, site.tokens[Role.WRITER])
        expect(page.locator(".letter").get_by_role("button", name="Retry", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Purge all")).to_have_count(0)
        assert not any(token in page.url for token in site.tokens.values())


def test_what_goes_wrong_is_said(page: Page, site: Site) -> None:
    """A job that is not there, and nothing of it in place of the page."""
    show(page, "#id=0199aa00-0000-7000-8000-00000000ffff")
    expect(page.locator("#complaint")).to_contain_text("there is no job")
    show(page, "#view=workers")
    expect(page.locator("#complaint")).to_be_hidden()
    got = httpx.get(f"{site.url}/jobs/")
    assert got.headers["content-security-policy"].startswith("default-src 'self'")
