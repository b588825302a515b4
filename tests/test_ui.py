"""Queued mode from Prefect's pages, as people use them, in a real browser on a real stack."""

from __future__ import annotations

import re
import time
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.browser import RENEW_EVERY_S, Visit
from tests.local_stack import LocalStack, free_of
from tests.processes import wait_until

RUNNING_WITHIN_S = 30.0
COMPLETED_WITHIN_S = 120.0
CANCELLED_WITHIN_S = 15.0
SCHEDULED_WITHIN_S = 90.0
DRAWN_WITHIN_S = 1.5


def _open_deployment(visit: Visit, flow: str) -> None:
    page = visit.page
    page.goto(visit.url)
    page.get_by_role("link", name="Deployments").click()
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name=flow, exact=True))
    expect(row.get_by_role("link", name="queued")).to_be_visible()
    visit.picture("deployments")
    row.get_by_role("link", name="queued").click()
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible()


def _open_form(visit: Visit) -> None:
    _open_deployment(visit, "detect-track")
    visit.page.get_by_role("button", name="Run", exact=True).click()
    visit.page.get_by_role("menuitem", name="Custom run").click()
    expect(_field(visit.page, "Video")).to_be_visible()


def _field(page: Page, title: str) -> Locator:
    return page.get_by_label(f"{title} (Optional)", exact=True)


def _submit(visit: Visit) -> str:
    """Submits the form, follows the link to the run's page, and returns the run's id."""
    page, press = visit.page, visit.page.get_by_role("button", name="Submit").click
    run_id = str(visit.until_accepted("/create_flow_run$", press).json()["id"])
    link = page.get_by_role("link", name="View run")
    link.and_(page.locator(f'[href$="{run_id}"]')).click()
    # Until then the list of runs is to be seen, with states of others.
    expect(page.get_by_role("tab", name="Logs")).to_be_visible()
    return run_id


def _see_state(page: Page, state: str, within_s: float) -> None:
    # The page asks for it every few seconds.
    badge = page.get_by_role("main").get_by_text(state, exact=True).first
    expect(badge).to_be_visible(timeout=within_s * 1000)


def _artifact(page: Page, kind: str) -> Locator:
    named = page.get_by_text(re.compile(f"^{kind}$", re.IGNORECASE))
    return page.get_by_role("tabpanel").get_by_role("link").filter(has=named)


def _percent(page: Page) -> float:
    text = page.get_by_text(re.compile(r"^Progress: [\d.]+%$")).inner_text()
    return float(text.removeprefix("Progress: ").removesuffix("%"))


def _count_runs(stack: LocalStack) -> int:
    with stack.api() as api:
        return int(api.call("POST", "/flow_runs/count", {}))


def test_a_run_from_the_form_to_its_report(stack: LocalStack) -> None:
    video = stack.media / "long.mp4"
    with Visit(stack.state.ui_url, "run") as visit:
        page = visit.page
        _open_form(visit)
        for title, help_text in {
            "Video": "under a media root of the workers",
            "Episode id": "Default: the file's name",
            "Profile": "an option given explicitly wins",
            "Tracker": "StrongSORT by motion and face embeddings",
            "Looks per second": "From 0.1 to 250. Default by profile: low_power 2, balanced 3.",
            "Stride": "From 1 to 250. Default by profile: high_accuracy 1.",
            "Best score of a track": "three quarters of it on average. From 0 to 1.",
            "Operation": "run does both steps",
            "Force": "even where it is done",
        }.items():
            expect(page.get_by_text(f"{title} (Optional)", exact=True)).to_be_visible()
            expect(page.get_by_text(help_text)).to_be_visible()
        expect(_field(page, "Smallest face")).to_have_value("16")
        visit.picture("form")
        page.get_by_role("button", name="Select Profile").click()
        page.get_by_role("option", name="low_power").click()
        _field(page, "Stride").fill("2")
        _field(page, "Episode id").fill("watched")
        _field(page, "Video").fill(str(video))
        visit.picture("form filled in")
        run_id = _submit(visit)
        _see_state(page, "Running", RUNNING_WITHIN_S)
        expect(page.get_by_text("run watched", exact=True)).to_be_visible()
        visit.picture("running")

        page.get_by_role("tab", name="Artifacts").click()
        progress = _artifact(page, "progress")
        visit.see(progress, RUNNING_WITHIN_S)
        progress.click()
        percents = [_percent(page)]
        visit.picture("progress")
        give_up = time.monotonic() + COMPLETED_WITHIN_S
        while percents[-1] == percents[0] and time.monotonic() < give_up:
            page.wait_for_timeout(RENEW_EVERY_S * 1000)
            page.reload()
            percents.append(_percent(page))
        visit.picture("more progress")
        assert percents[0] < percents[-1], percents

        page.get_by_role("link", name="run watched").first.click()
        _see_state(page, "Completed", COMPLETED_WITHIN_S)
        page.get_by_role("tab", name="Artifacts").click()
        page.reload()  # It remembers the list of before.
        for kind in ("progress", "table", "markdown"):
            expect(_artifact(page, kind)).to_be_visible()
        # The timeline is drawn on a canvas, of which nothing can be asked.
        expect(page.locator("canvas").first).to_be_visible()
        page.wait_for_timeout(DRAWN_WITHIN_S * 1000)
        visit.picture("completed")
        _artifact(page, "table").click()
        expect(page.get_by_role("row").filter(has_text="face detections")).to_be_visible()
        visit.picture("quality")
        page.go_back()
        _artifact(page, "markdown").click()
        for name in ("detections", "tracks", "track_summary", "frames"):
            path = stack.outputs / "watched" / f"{name}.parquet"
            assert path.exists()
            expect(page.get_by_text(str(path), exact=True)).to_be_visible()
        expect(page.get_by_text(str(video), exact=True)).to_be_visible()
        expect(page.get_by_role("row", name="stride 2", exact=True)).to_be_visible()
        visit.picture("report")
    free_of(stack, run_id, "watched")


def test_cancel_from_the_page_of_the_run(stack: LocalStack) -> None:
    with Visit(stack.state.ui_url, "cancel") as visit:
        page = visit.page
        _open_form(visit)
        _field(page, "Video").fill(str(stack.media / "long.mp4"))
        _field(page, "Episode id").fill("given-up")
        _field(page, "Stride").fill("1")
        run_id = _submit(visit)
        _see_state(page, "Running", RUNNING_WITHIN_S)
        stack.wait_for_stage(run_id, "detecting", "given-up")
        assert stack.processes(run_id)
        page.get_by_role("main").get_by_role("button", name="Open menu").click()
        visit.picture("menu")
        page.get_by_role("menuitem", name="Cancel").click()
        dialog = page.get_by_role("alertdialog", name="Cancel Flow Run")
        expect(dialog).to_contain_text("Are you sure you want to cancel run given-up?")
        visit.picture("sure")
        confirm = dialog.get_by_role("button", name="Cancel Flow Run")
        visit.until_accepted("/set_state$", confirm.click)
        _see_state(page, "Cancelled", CANCELLED_WITHIN_S)
        free_of(stack, run_id, "given-up")
        page.get_by_role("tab", name="Details").click()
        expect(page.get_by_role("tabpanel").get_by_text("cancelled")).to_be_visible()
        visit.picture("cancelled")
    assert stack.state_name(run_id) == "Cancelled"


def test_a_wrong_value_is_told_in_the_form(stack: LocalStack) -> None:
    before = _count_runs(stack)
    with Visit(stack.state.ui_url, "wrong-value") as visit:
        page = visit.page
        _open_form(visit)
        _field(page, "Video").fill(str(stack.media / "sample.mp4"))
        stride, submit = _field(page, "Stride"), page.get_by_role("button", name="Submit")
        # Letters do not get into a field for numbers.
        stride.press_sequentially("abc")
        expect(stride).to_have_value("")
        for title, value, told in (
            ("Stride", "0", "greater than or equal to 1"),
            ("Stride", "251", "less than or equal to 250"),
            ("Stride", "1.5", "nearest valid values are 1 and 2"),
            ("Best score of a track", "1.5", "less than or equal to 1"),
        ):
            field = _field(page, title)
            field.fill(value)
            submit.click()
            # Chromium shows it in a bubble that is not of the page.
            assert told in field.evaluate("field => field.validationMessage"), value
            expect(field).to_be_focused()
            visit.picture(f"{title} {value}")
            field.fill("")
        # What the browser lets through, the server refuses, in the page.
        _field(page, "Best score of a track").fill("0.6")
        label = page.get_by_text("Stride (Optional)", exact=True)
        label.locator("xpath=following::button[1]").click()
        page.get_by_role("menuitem", name="Use JSON Input").click()
        label.locator("xpath=following::*[@role='textbox'][1]").fill('"abc"')
        submit.click()
        expect(page.get_by_text("'abc' is not valid", exact=False).first).to_be_visible()
        expect(page.get_by_text("Validation failed for field 'options.stride'")).to_be_visible()
        label.scroll_into_view_if_needed()
        visit.picture("wrong type")
    assert _count_runs(stack) == before


def test_a_video_that_cannot_be_read_fails_the_run_with_one_line(stack: LocalStack) -> None:
    missing = stack.media / "missing.mp4"
    with Visit(stack.state.ui_url, "wrong-video") as visit:
        page = visit.page
        _open_form(visit)
        _field(page, "Video").fill("/elsewhere/episode.mp4")
        _see_failure(visit, stack, "/elsewhere/episode.mp4 is not under a media root")
        # What was filled in is there again for the next try.
        page.get_by_role("main").get_by_role("button", name="Open menu").click()
        page.get_by_role("menuitem", name="Copy to new run").click()
        expect(_field(page, "Video")).to_have_value("/elsewhere/episode.mp4")
        _field(page, "Video").fill(str(missing))
        _see_failure(visit, stack, f"{missing} does not exist")


def _see_failure(visit: Visit, stack: LocalStack, told: str) -> None:
    page, run_id = visit.page, _submit(visit)
    _see_state(page, "Failed", RUNNING_WITHIN_S)
    page.get_by_role("tab", name="Details").click()
    message = page.get_by_role("tabpanel").get_by_text(re.compile(r"^\w+Error: .+$"))
    expect(message).to_contain_text(told)
    visit.picture("failed")
    assert message.inner_text() == stack.flow_run(run_id)["state"]["message"]
    assert "\n" not in message.inner_text()


def _backfill(stack: LocalStack) -> tuple[str, dict[str, Any]]:
    """The deployment's id and its only schedule."""
    with stack.api() as api:
        deployment = api.call("GET", "/deployments/name/backfill/queued")
    (schedule,) = deployment["schedules"]
    return deployment["id"], schedule


def _upcoming(stack: LocalStack) -> list[str]:
    """Names of the runs that are to come."""
    deployment, _ = _backfill(stack)
    with stack.api() as api:
        return [run["name"] for run in api.unfinished_runs(deployment)]


def test_the_nightly_schedule_is_switched_on_and_off(stack: LocalStack) -> None:
    deployment, schedule = _backfill(stack)
    assert not schedule["active"], "nothing runs by itself unless somebody wants it"
    with Visit(stack.state.ui_url, "schedule") as visit:
        page = visit.page
        _open_deployment(visit, "backfill")
        switch = page.get_by_role("switch", name=re.compile(r"^toggle At \d\d:\d\d [AP]M"))
        expect(switch).not_to_be_checked()
        visit.picture("off")
        side = page.get_by_role("complementary")
        side.get_by_role("button", name="Open menu").first.click()
        page.get_by_role("menuitem", name="Edit").click()
        dialog = page.get_by_role("dialog", name="Edit Schedule")
        expect(dialog.get_by_label("Value")).to_have_value(schedule["schedule"]["cron"])
        zone = dialog.get_by_role("button", name="Select timezone")
        # "Europe / Berlin"
        spelled = schedule["schedule"]["timezone"].replace("/", " / ").replace("_", " ")
        expect(zone).to_have_text(spelled)
        visit.picture("cron and timezone")
        page.keyboard.press("Escape")
        try:
            visit.until_accepted(f"/schedules/{schedule['id']}$", switch.click)
            expect(switch).to_be_checked()
            assert _backfill(stack)[1]["active"]
            with stack.api() as api:
                # What has just been changed is looked at within 5 s, all else once a minute.
                api.call("PATCH", f"/deployments/{deployment}", {"paused": False})
            wait_until(lambda: bool(_upcoming(stack)), SCHEDULED_WITHIN_S, "a run scheduled")
            page.get_by_role("tab", name="Upcoming").click()
            page.reload()
            runs = page.get_by_role("tabpanel").get_by_role("link", name=_upcoming(stack)[0])
            expect(runs.first).to_be_visible()
            visit.picture("on")
            visit.until_accepted(f"/schedules/{schedule['id']}$", switch.click)
            expect(switch).not_to_be_checked()
            assert not _backfill(stack)[1]["active"]
            wait_until(lambda: not _upcoming(stack), SCHEDULED_WITHIN_S, "no run scheduled")
            page.reload()
            expect(page.get_by_text("No runs found")).to_be_visible()
            visit.picture("off again")
        finally:
            with stack.api() as api:
                path = f"/deployments/{deployment}/schedules/{schedule['id']}"
                api.call("PATCH", path, {"active": False})
