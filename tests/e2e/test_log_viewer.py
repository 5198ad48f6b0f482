"""The page that shows logs, in the system's Chromium: what people do with it, and what records try to do to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.pages import EVIL, UNNAMED, chromium, watched
from tests.servers import VcacheServer, vcache_serve
from vcache.logs.disk import DiskLogs
from vcache.logs.record import Record
from vcache.server.callers import Role
from vcache.server.tokens import TokenFile

pytestmark = pytest.mark.e2e

LOGS = "/api/v1/logs"
SECOND = 10**9
START = 1_790_000_040 * SECOND  # a whole minute


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


def send(server: VcacheServer, *records: Mapping[str, object], token: str = "") -> None:
    body = "".join(json.dumps(record) + "\n" for record in records)
    headers = {"authorization": f"Bearer {token}"} if token else {}
    assert httpx.post(server.url + LOGS, content=body, headers=headers, timeout=60).status_code == 200


def build(run: str, at_ns: int) -> list[dict[str, object]]:
    """What a small build says."""
    said: list[dict[str, object]] = []
    for number in range(120):
        node = f"lib/{number % 6}.o"
        level, source = ("warning", "gcc") if number % 20 == 3 else ("info", "cc")
        message = f"lib/{number}.c:3:7: warning: unused variable" if source == "gcc" else f"Building {number}"
        said.append({"message": message, "level": level, "source": source, "run": run, "node": node,
                     "time": at_ns + number * SECOND})  # fmt: skip
    said.append({"message": "\x1b[1;31merror:\x1b[0m it \x1b[38;5;208mbroke\x1b[0m \u202e\x07!", "level": "error",
                 "source": "gcc", "run": run, "node": "lib/5.o", "time": at_ns + 130 * SECOND})  # fmt: skip
    return said


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VcacheServer]:
    with vcache_serve(tmp_path_factory.mktemp("served") / "store") as found:
        send(found, *build("run-1", START), *build("run-2", START + 3600 * SECOND))
        yield found


@pytest.fixture
def page(browser: Browser, server: VcacheServer) -> Iterator[Page]:
    with watched(browser, server.url) as made:
        made.goto(f"{server.url}/logs/")
        expect(made.locator(".row").first).to_be_visible()
        yield made


def search(page: Page, query: str) -> None:
    page.fill("#query", query)
    page.press("#query", "Enter")


def test_a_search_shows_what_fits(page: Page) -> None:
    """A query leaves its records; the address keeps it; the way back leads back."""
    search(page, 'level >= warning and source = "gcc" and run = "run-1"')
    expect(page.locator(".row")).to_have_count(7)
    expect(page.locator(".row.error")).to_have_count(1)
    assert "run-1" in page.evaluate("decodeURIComponent(location.hash)")
    page.go_back()
    expect(page.locator("#status")).to_contain_text("242 records")
    expect(page.locator("#query")).to_have_value("")


def test_an_error_is_shown_under_the_query(page: Page) -> None:
    """With a caret under the place; and goes when the query is right."""
    search(page, "level >= warning and (")
    expect(page.locator("#complaint")).to_contain_text("^")
    expect(page.locator("#query")).to_have_attribute("aria-invalid", "true")
    search(page, "level >= warning")
    expect(page.locator("#complaint")).to_be_hidden()


def test_steps_are_shown_as_a_table(page: Page) -> None:
    """Rows of an aggregation are a table with columns."""
    search(page, "* | count by source | sort -count")
    expect(page.locator("#table tbody tr").first).to_contain_text("cc")
    expect(page.locator("#table th").first).to_have_text("source")


def test_a_bar_of_the_histogram_picks_its_time(page: Page) -> None:
    """A click on a bar shows its records, a drag those of several; `z` shows all again."""
    bars = page.locator("#histogram .bar .hit")
    expect(bars.first).to_be_attached()
    n_bars = bars.count()
    box = page.locator("#histogram").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 3, box["y"] + 40)
    expect(page.locator("#range option[value=custom]")).to_be_attached()
    expect(page.locator("#status")).to_contain_text("60 records")
    expect(bars).not_to_have_count(n_bars)
    page.locator("#list").press("z")
    expect(page.locator("#status")).to_contain_text("242 records")
    expect(bars).to_have_count(n_bars)
    page.mouse.move(box["x"] + box["width"] - 4, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 40, steps=4)
    page.mouse.up()
    expect(page.locator("#status")).to_contain_text("121 records")
    expect(page.locator(".row.error")).to_have_count(1)


def test_a_record_opens_and_its_fields_filter(page: Page) -> None:
    """A click shows all fields; "=" asks for those with the same value, "≠" for the others."""
    search(page, 'level = error and run = "run-2"')
    expect(page.locator(".row")).to_have_count(1)
    page.locator(".row .line").click()
    details = page.locator(".details")
    expect(details).to_contain_text("lib/5.o")
    details.get_by_role("button", name="Only node = lib/5.o").click()
    expect(page.locator("#query")).to_have_value('level = error and run = "run-2" and node = "lib/5.o"')
    search(page, 'run = "run-2"')
    expect(page.locator("#status")).to_contain_text("121 records")
    page.locator(".row .line").last.click()
    page.locator(".details").get_by_role("button", name="Without source = gcc").click()
    expect(page.locator(".row.error")).to_have_count(0)
    expect(page.locator("#status")).to_contain_text("114 records")


def test_colours_are_shown_and_commands_of_terminals_are_not(page: Page) -> None:
    """ANSI colours are spans; what else would act on a reader is shown as what it is."""
    search(page, 'level = error and run = "run-1"')
    expect(page.locator(".row")).to_have_count(1)
    message = page.locator(".row .message")
    expect(message.locator(".fg-1.bold")).to_have_text("error:")
    orange = message.locator("span", has_text="broke")
    assert orange.evaluate("each => getComputedStyle(each).color") == "rgb(255, 135, 0)"
    assert message.locator(".odd").all_inner_texts() == ["U+202E", "^G"]


def test_a_link_leads_to_a_record(page: Page, server: VcacheServer) -> None:
    """An address with an id opens that record among those around it; one with a query asks it."""
    got = httpx.get(f"{server.url}{LOGS}/query", params={"q": 'run = "run-1" and message = "Building 60"'})
    wanted = json.loads(got.text.splitlines()[0])
    page.goto(f"{server.url}/logs/#id={wanted['@id']}")
    expect(page.locator(".row[aria-expanded=true] .details")).to_contain_text(wanted["@id"])
    expect(page.locator(".row", has_text="Building 59")).to_be_visible()
    expect(page.locator(".row", has_text="Building 61").first).to_be_attached()
    page.goto(f"{server.url}/logs/#q=level%20%3D%20error")
    expect(page.locator(".row")).to_have_count(2)


def test_the_nodes_of_a_build_stand_at_the_side(page: Page) -> None:
    """A run's nodes, the worst first, with their errors and warnings; a click asks for one's records."""
    page.select_option("#run", "run-2")
    expect(page.locator("#nodes button").first).to_have_attribute(
        "aria-label", "lib/5.o: 1 errors, 2 warnings, 21 records"
    )
    page.locator("#nodes button").first.click()
    expect(page.locator("#query")).to_have_value('run = "run-2" and node = "lib/5.o"')
    expect(page.locator("#status")).to_contain_text("21 records")
    page.select_option("#run", "")
    expect(page.locator("#query")).to_have_value('node = "lib/5.o"')


def test_templates_lead_to_their_records(page: Page) -> None:
    """Messages by shape; a click asks for those of one shape."""
    page.get_by_role("button", name="Templates").click()
    expect(page.locator("#table tbody tr").first).to_contain_text("Building <n>")
    page.locator("#table tbody button").first.click()
    expect(page.locator("#status")).to_contain_text("228 records")


def test_everything_can_be_done_by_keys(page: Page) -> None:
    """/ to the query, Escape to the list, j and k along it, Enter opens, ? helps."""
    page.keyboard.press("/")
    expect(page.locator("#query")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#list")).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("k")
    page.keyboard.press("Enter")
    expect(page.locator(".row[aria-expanded=true] .message")).to_have_text("Building 1")
    page.keyboard.press("?")
    expect(page.locator("#helping")).to_be_visible()
    page.keyboard.press("Escape")
    page.locator("#histogram .bar").first.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#range option[value=custom]")).to_be_attached()


def test_a_live_tail_shows_what_another_process_appends(page: Page, server: VcacheServer) -> None:
    """What is appended shows itself, under the query that stands; switched off, nothing comes."""
    search(page, 'source = "live"')
    expect(page.locator("#empty")).to_be_visible()
    page.get_by_role("button", name="Live").click()
    with DiskLogs(server.directory / "logs" / "default", seals=False) as store:
        store.append(
            [Record(time.time_ns(), 17, "live", "it is here"), Record(time.time_ns(), 9, "not", "live")]
        )
    expect(page.locator(".row")).to_have_count(1)
    expect(page.locator(".row .message")).to_have_text("it is here")
    send(server, *({"message": f"more {n}", "source": "live"} for n in range(50)))
    expect(page.locator("#status")).to_contain_text("51 records")
    expect(page.locator(".row", has_text="more 49")).to_be_visible()
    page.keyboard.press("l")
    expect(page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "false")


def test_nothing_that_a_record_says_acts(page: Page, server: VcacheServer) -> None:
    """Scripts in messages, sources, names and values of fields are text, wherever they are shown."""
    send(server, *({"message": text, "source": text[:100], "run": text, "node": text, text[:200]: text, "x": text}
                   for text in EVIL))  # fmt: skip
    said: list[str] = []
    page.on("dialog", lambda dialog: said.append(dialog.message))
    search(page, "x")
    expect(page.locator(".row")).to_have_count(len(EVIL))
    for number in range(len(EVIL)):
        page.locator(".row .line").nth(number).click()
        expect(page.locator(".details")).to_be_visible()
        page.locator(".row .line").nth(number).click()
    page.locator("#nodes button", has_text="script").first.click()
    expect(page.locator(".row")).to_have_count(1)
    page.get_by_role("button", name="Templates").click()
    expect(page.locator("#table tbody tr").first).to_be_visible()
    search(page, "x | count by source, message, node")
    expect(page.locator("#table tbody tr")).to_have_count(len(EVIL))
    page.goto(f"{server.url}/logs/#q=%3Cimg%20src%3Dx%20onerror%3Dwindow.pwned%3D1%3E")
    expect(page.locator("#complaint")).to_be_visible()
    assert page.evaluate("window.pwned") is None
    assert page.locator("#stage script, #stage img, #stage svg, #side img, #stage a, #stage b").count() == 0
    assert said == []


def test_no_script_but_its_own_would_run(page: Page, server: VcacheServer) -> None:
    """Should something get into the page all the same: its policy has nothing of it run."""
    page.evaluate("""() => {
        const box = document.createElement("div");
        box.innerHTML = "<img src=x onerror='window.pwned=2'><style>body{display:none}</style>";
        document.body.append(box);
    }""")
    page.wait_for_function("document.querySelector('img').complete")
    assert page.evaluate("window.pwned") is None
    assert page.evaluate("getComputedStyle(document.body).display") == "flex"
    got = httpx.get(f"{server.url}/logs/")
    assert got.headers["content-security-policy"].startswith("default-src 'self'")


def test_a_token_is_asked_for_and_stays_in_the_tab(browser: Browser, tmp_path: Path) -> None:
    """Without a token nothing is shown; with one everything; it is in no address, and can be forgotten."""
    file = TokenFile(tmp_path / "tokens.json")
    _, token = file.add(Role.WRITER, "main")
    with vcache_serve(tmp_path / "store", "--tokens", tmp_path / "tokens.json") as server:
        send(server, {"message": "secret"}, token=token)
        context = browser.new_context()
        page = context.new_page()
        addresses: list[str] = []
        page.on("request", lambda asked: addresses.append(asked.url))
        page.goto(f"{server.url}/logs/")
        expect(page.locator("#ask")).to_be_visible()
        page.fill("#token", "wrong")
        page.keyboard.press("Enter")
        expect(page.locator("#ask-why")).not_to_be_empty()
        page.fill("#token", token)
        page.keyboard.press("Enter")
        expect(page.locator(".row .message")).to_have_text("secret")
        page.reload()
        expect(page.locator(".row .message")).to_have_text("secret")
        assert not any(token in address for address in [*addresses, page.url])
        page.get_by_role("button", name="Forget token").click()
        expect(page.locator("#ask")).to_be_visible()
        expect(page.locator(".row")).to_have_count(0)
        context.close()


def test_thousands_of_records_are_few_elements(page: Page) -> None:
    """100,000 records in the list: a screen of them is in the page, at either end and in the middle."""
    page.evaluate("""async () => {
        const { List } = await import("/logs/list.js");
        const handlers = { onTop: () => {}, onSelect: () => {} };
        const box = document.getElementById("list").cloneNode(true);
        box.firstElementChild.replaceChildren();
        document.getElementById("stage").replaceChildren(box);
        const list = new List(box, box.firstElementChild, handlers);
        const records = Array.from({ length: 100000 }, (_, n) => ({
            "@id": String(n), "@time": "2026-11-21T10:00:00.000000000Z", level: "info", source: "s", message: "m" + n,
        }));
        list.set(records);
        window.list = list;
    }""")
    expect(page.locator(".row", has_text="m99999")).to_be_visible()
    assert page.locator(".row").count() < 100
    page.evaluate("() => { list.select(50000); list.toggle(50000); }")
    expect(page.locator(".row.selected .details")).to_contain_text("m50000")
    page.locator("#list").press("g")
    expect(page.locator(".row.selected .message")).to_have_text("m0")
    assert page.locator(".row").count() < 100


def test_it_is_named_for_who_cannot_see_it(page: Page) -> None:
    """Every control has a name, the list is a table, and nothing moves for whoever wants that."""
    assert page.evaluate(UNNAMED) == []
    expect(page.get_by_role("table", name="Records")).to_be_visible()
    expect(page.get_by_role("searchbox").or_(page.get_by_role("textbox", name="Query"))).to_be_visible()
    page.emulate_media(reduced_motion="reduce")
    page.get_by_role("button", name="Live").click()
    assert page.locator(".dot").evaluate("each => getComputedStyle(each).animationName") == "none"
    page.get_by_role("button", name="Colours").click()
    page.get_by_role("button", name="Colours").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(13, 17, 23)"
