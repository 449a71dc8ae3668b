"""The pages of people who share a server, in a real Chromium."""

import re
import shutil
from pathlib import Path

import httpx
import pytest

from browsers import CHROMIUM, REFUSED, Visitor, api, expect
from emow2v.server.people.tokens import Tokens
from emow2v.server.run import Server

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (apt install chromium)"),
    pytest.mark.slow,
]


def test_people_see_their_own_jobs_and_log_out(browser: "api.Browser", speech: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    shutil.copyfile(speech, tmp_path / "data" / "session.wav")
    tokens = Tokens(tmp_path / "work")
    anna, boss = tokens.add("anna"), tokens.add("boss", "administrator")
    server = Server(port=0, data_dirs=[tmp_path / "data"], work_dir=tmp_path / "work", threads=1)
    with server.running() as url:
        with httpx.Client(base_url=url, headers={"Authorization": f"Bearer {boss}"}, trust_env=False) as client:
            form = {"path": "session.wav", "wait": "false"}
            assert client.post("/v1/predictions", data=form).status_code == 202
        visitor = Visitor(browser, url)
        visitor.expected = [REFUSED]  # of a list that is asked for while the page is left
        page = visitor.page
        page.goto("/")
        for token, name in ((anna, "anna"), (boss, "boss")):
            page.get_by_label("Access token").fill(token)
            page.get_by_role("button", name="Open").click()
            expect(page.locator(".person")).to_contain_text(name)
            if name == "anna":
                expect(page.locator("#no-jobs")).to_be_visible()
                form = {"path": "session.wav", "wait": "false"}
                assert page.request.post("/v1/predictions", form=form).status == 202
                expect(page.locator("#table tbody tr")).to_have_count(1)
                page.get_by_role("button", name="Log out").click()
        expect(page.locator("#table tbody tr")).to_have_count(2)
        hers = page.locator("#table tbody tr", has_text="anna")
        expect(hers).to_have_count(1)
        hers.get_by_role("link", name="session.wav", exact=True).click()
        page.wait_for_url(re.compile("/jobs/anna%3A[0-9a-f]+"))
        expect(page.locator("#state")).to_contain_text("finished")
        page.goto("/")
        hers.get_by_role("button", name="Erase").click()
        page.locator("#erase").get_by_role("button", name="Erase").click()
        expect(page.locator("#table tbody tr")).to_have_count(1)
        visitor.leave()
