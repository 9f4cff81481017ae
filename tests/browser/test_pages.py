"""The page round the player: tables, lists, keys, themes, phones, hostile text, five hundred samples."""

from pathlib import Path
from typing import Any

import pytest

from stvg_core.evaluation.comparison import PageChoice
from tests.support.browsing import AXE, Open, Opened, check_with_axe
from tests.support.pages import (
    END,
    FRAMES,
    HOSTILE,
    HOSTILE_VIDEO,
    START,
    answer,
    failing_third,
    hostile,
    write_comparison_page,
)

pytestmark = pytest.mark.browser


def names(opened: Opened) -> list[str]:
    return [text.split("\n")[1] for text in opened.page.locator("table.rows tbody th").all_inner_texts()]


def shown(opened: Opened) -> list[int]:
    return [int(link.get_attribute("data-sample") or "") for link in opened.page.locator(".sample-list a").all()]


def test_rows_are_sorted_and_filtered(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    assert names(opened) == ["right", "worse"]
    head = opened.page.locator("th", has=opened.page.locator("[data-sort='m_vIoU']"))
    button = head.get_by_role("button")
    button.click()
    assert (names(opened), head.get_attribute("aria-sort")) == (["right", "worse"], "descending")
    button.click()
    assert (names(opened), head.get_attribute("aria-sort")) == (["worse", "right"], "ascending")
    assert opened.page.evaluate("document.activeElement.dataset.sort") == "m_vIoU"
    cells = opened.page.locator("tr[data-row='0'] td .mean").all_inner_texts()
    assert all(float(cell) > 90 for cell in cells[:2])
    search = opened.page.get_by_role("region", name="Rows", exact=True).get_by_label("Filter")
    search.fill("WORSE paper")
    assert names(opened) == ["worse"]
    assert opened.page.get_by_text("1 of 2 rows").is_visible()
    search.fill("nothing like it")
    assert names(opened) == []


def test_plots_are_shown_where_there_are_any(tmp_path: Path, open_page: Open) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "rows.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" width="80" height="40"><script>parent.hurt = 1</script></svg>'
    )
    opened = open_page(write_comparison_page(tmp_path, {"right": answer}, 1)).settled()
    opened.page.get_by_text("Plots", exact=True).click()
    picture = opened.page.get_by_role("img", name="Plot of rows; the table has its numbers.")
    picture.scroll_into_view_if_needed()
    opened.wait("document.querySelector('.plots img').naturalWidth === 80")
    assert opened.page.locator(".plots img").count() == 1


def test_samples_are_filtered_sorted_and_picked(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    samples = opened.page.get_by_role("navigation", name="Samples")
    assert shown(opened) == [0, 1, 2, 3, 4, 5]
    samples.get_by_label("Show").select_option("failed")
    assert shown(opened) == [2, 5]
    assert opened.page.get_by_text("2 of 6 samples").is_visible()
    samples.get_by_label("Show").select_option("apart")
    assert shown(opened) == [0, 1, 2, 3, 4, 5]
    samples.get_by_label("Show").select_option("all")
    samples.get_by_label("Order").select_option("worst")
    assert set(shown(opened)[:2]) == {2, 5}
    samples.get_by_label("Order").select_option("order")
    samples.get_by_label("Filter").fill("walks SAMPLE-4")
    assert shown(opened) == [4]
    opened.page.locator(".sample-list a").click()
    opened.settled()
    assert opened.page.url.endswith("#sample-5")
    assert opened.page.evaluate("stvg.current.view.sample.query") == "The man number 4 walks away."
    opened.page.go_back()
    opened.settled()
    assert opened.page.evaluate("stvg.current.view.sample.query") == "The man number 0 walks away."


def test_a_failure_is_told_where_it_failed(index: Path, open_page: Open) -> None:
    opened = open_page(index.resolve().as_uri() + "#sample-3").settled()
    failure = opened.page.locator(".sample .failure")
    assert failure.locator(".title").inner_text() == "worse failed: VideoError"
    assert failure.locator("p").inner_text() == "expected a man, got <b>none</b>"
    assert opened.page.locator("[data-row='1'] .lane-detail").inner_text() == "failed"
    assert "1 rows failed" in opened.page.locator("#announcements").inner_text()


def test_query_parts_are_told_apart_without_colour(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    parts = opened.page.locator(".query .part").all_text_contents()
    assert parts == ["The man number(attribute)", "walks away(action)"]
    styles = {
        part: opened.page.locator(f".part.{part} .words").evaluate(
            "(node) => getComputedStyle(node).textDecorationStyle"
        )
        for part in ("attribute", "action")
    }
    assert styles == {"attribute": "solid", "action": "dotted"}


def test_the_keyboard_does_everything(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    body = opened.page.locator("body")
    opened.seek(10)
    for key, frame in (("ArrowRight", 11), ("ArrowLeft", 10), ("Home", START), ("End", END)):
        body.press(key)
        opened.settled()
        assert opened.frame() == frame, key
    body.press("Shift+ArrowLeft")
    opened.settled()
    assert END - 14 <= opened.frame() <= END - 11
    opened.seek(START)
    body.press("Space")
    opened.wait("stvg.current.view.clock.playing")
    opened.wait(f"stvg.current.view.clock.frame > {START}")
    body.press("Space")
    opened.wait("!stvg.current.view.clock.playing")
    assert opened.page.evaluate("scrollY") == 0
    for key, number in (("j", 1), ("j", 2), ("k", 1)):
        body.press(key)
        opened.wait(f"stvg.current.list.picked === {number}")
        opened.settled()
        assert opened.page.evaluate("stvg.current.view.sample.query") == f"The man number {number} walks away."
    body.press("2")
    assert not opened.page.locator("[data-row='1'] input[type=checkbox]").is_checked()
    body.press("0")
    assert opened.page.evaluate("stvg.current.view.preferences.truth") is False
    before = opened.page.evaluate("stvg.current.view.preferences.branch")
    body.press("h")
    assert opened.page.evaluate("stvg.current.view.preferences.branch") != before
    body.press("?")
    assert opened.page.get_by_role("dialog", name="Keys").is_visible()
    opened.page.keyboard.press("Escape")
    body.press("/")
    opened.page.keyboard.type("jk 3")
    assert opened.page.get_by_role("navigation", name="Samples").get_by_label("Filter").input_value() == "jk 3"
    assert opened.page.evaluate("stvg.current.list.picked") == 1


def test_every_control_can_be_reached_and_shows_its_focus(index: Path, open_page: Open) -> None:
    opened = open_page(index).settled()
    seen = set()
    for _ in range(300):
        opened.page.keyboard.press("Tab")
        place = opened.page.evaluate(
            """() => {
                const node = document.activeElement;
                const style = getComputedStyle(node);
                const name = node.className || node.type || "";
                return [node.tagName, name, style.outlineStyle, parseFloat(style.outlineWidth)];
            }"""
        )
        if place[0] == "BODY":
            break
        seen.add(place[0])
        assert place[2] != "none", place
        assert place[3] >= 1, place
    assert {"A", "BUTTON", "INPUT", "SELECT", "DIV", "SUMMARY"} <= seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark_follow_the_system_and_the_switch(scheme: Any, index: Path, open_page: Open) -> None:
    opened = open_page(index, color_scheme=scheme).settled()

    def brightness() -> float:
        color = opened.page.evaluate("getComputedStyle(document.body).backgroundColor")
        return float(sum(map(int, color.removeprefix("rgb(").removesuffix(")").split(",")))) / 3

    assert (brightness() > 200) == (scheme == "light")
    other = "dark" if scheme == "light" else "light"
    opened.page.get_by_label("Colours").select_option(other)
    assert (brightness() > 200) == (other == "light")
    opened.page.reload()
    opened.settled()
    assert (brightness() > 200) == (other == "light")
    opened.page.get_by_label("Colours").select_option("system")
    assert (brightness() > 200) == (scheme == "light")


@pytest.mark.parametrize("width", [320, 390, 768])
def test_a_phone_scrolls_down_alone(width: int, index: Path, open_page: Open) -> None:
    opened = open_page(index, width=width, height=700, has_touch=True).settled()
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= width
    stage = opened.page.locator(".frame").bounding_box()
    assert stage is not None
    assert stage["width"] > 0.8 * min(width, 600) - 40


def test_hostile_text_is_text(tmp_path: Path, open_page: Open) -> None:
    page = write_comparison_page(
        tmp_path, {HOSTILE[:60]: hostile}, 2, (HOSTILE_VIDEO,), query=HOSTILE.replace("{", "(") + " number {}"
    )
    opened = open_page(page).settled()
    # White space is tidied where queries are read; nothing else is.
    written = opened.page.evaluate("stvg.current.view.sample.query")
    assert "<img src=x onerror=" in written
    assert "<img src=x onerror=" in opened.page.locator(".query").inner_text()
    assert '"<b>bold<b>"' in opened.page.locator(".sample-line").inner_text()
    assert opened.page.locator("main img, main b, main script, main iframe").count() == 0
    assert opened.page.evaluate("stvg.current.view.clock.video.readyState") >= 2
    opened.page.wait_for_timeout(300)
    assert opened.page.evaluate("window.hurt") is None
    assert opened.page.evaluate("({}).polluted") is None


def test_the_policy_refuses_what_is_not_the_page_s(index: Path, open_page: Open) -> None:
    opened = open_page(index, strict=False).settled()
    opened.page.evaluate(
        """() => {
            const script = document.createElement("script");
            script.append("window.hurt = 3");
            try { document.head.append(script); } catch {}
            const image = document.createElement("img");
            image.src = "http://127.0.0.1:9/x.png";
            document.body.append(image);
            try { document.body.innerHTML += "<b>x</b>"; } catch {}
            try { fetch("http://127.0.0.1:9/").catch(() => 0); } catch {}
        }"""
    )
    opened.page.wait_for_timeout(300)
    violated = {text.split()[0] for text in opened.page.evaluate("window.violations")}
    assert {"connect-src", "img-src", "require-trusted-types-for"} <= violated, violated
    assert opened.page.evaluate("window.hurt") is None
    assert opened.page.locator("body b").count() == 0
    opened.page.evaluate("window.violations = []")
    opened.complaints.clear()
    opened.requests = [url for url in opened.requests if url.startswith("file:")]


def test_five_hundred_samples_load_one_at_a_time(tmp_path: Path, open_page: Open) -> None:
    page = write_comparison_page(tmp_path, {"right": answer, "worse": failing_third}, 500)
    opened = open_page(page).settled()
    scripts = [url for url in opened.requests if "/pages/0" in url]
    assert len(scripts) == 1
    assert len(shown(opened)) == 200
    body = opened.page.locator("body")
    for number in range(1, 31):
        body.press("j")
        opened.wait(f"stvg.current.list.picked === {number}")
    opened.wait("stvg.current.view.sample.id === 'sample-30'")
    opened.settled()
    assert opened.page.locator("video").count() == 1
    assert len({url for url in opened.requests if "/pages/0" in url}) <= 31
    samples = opened.page.get_by_role("navigation", name="Samples")
    samples.get_by_label("Filter").fill("number 49")
    assert shown(opened) == [number for number in range(500) if "49" in str(number)]
    samples.get_by_label("Filter").fill("")
    opened.page.evaluate("location.hash = '#sample-450'")
    opened.wait("stvg.current.view.sample.id === 'sample-449'")
    assert opened.page.locator("[aria-current=true]").get_attribute("data-sample") == "449"


def test_a_sample_whose_script_is_gone_is_told(tmp_path: Path, open_page: Open) -> None:
    page = write_comparison_page(tmp_path, {"right": answer}, 3)
    (page.parent / "pages" / "000001.js").unlink()
    opened = open_page(page, strict=False).settled()
    opened.page.locator("body").press("j")
    alert = opened.page.get_by_role("alert")
    alert.wait_for()
    assert alert.inner_text() == "cannot load pages/000001.js; is the folder complete?"
    opened.page.locator("body").press("j")
    opened.wait("stvg.current.view.sample.id === 'sample-2'")


def test_a_page_without_videos_or_maps_still_shows_boxes(tmp_path: Path, open_page: Open) -> None:
    page = write_comparison_page(tmp_path, {"right": answer}, 2, choice=PageChoice(media="none"))
    opened = open_page(page).settled()
    assert opened.page.locator("video").count() == 0
    assert len(opened.page.evaluate(f"stvg.current.view.boxesAt({START})")) == 2
    opened.seek(FRAMES - 1)
    assert opened.frame() == FRAMES - 1


@pytest.mark.skipif(not AXE, reason="axe-core is fetched by nox -s browser where npm is there; STVG_AXE names it")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_axe_finds_nothing(scheme: Any, width: int, index: Path, open_page: Open) -> None:
    opened = open_page(index.resolve().as_uri() + "#sample-3", width=width, color_scheme=scheme, strict=False).settled()
    check_with_axe(opened)
