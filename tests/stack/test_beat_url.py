"""Beats by the function's own URL: a separate stack with it on, over HTTP and from a browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, Request

from lab.harness.clients import Answer, Api, Loop, beat, eventually, path_of
from local.stack import LocalStack
from tests.stack.conftest import Stack, assert_gone, new_space
from tests.stack.test_client import serving

pytestmark = pytest.mark.stack

PAGE = {"origin": "https://shop.example"}


@dataclass(frozen=True)
class Doors:
    """A stack with a URL for beats, and that URL's host."""

    stack: Stack
    host: str

    def both(self, method: str, path: str, **rest: Any) -> tuple[Answer, Answer]:
        """The API's answer, and the URL's to the same request."""
        return self.api.request(method, path, **rest), self.door(method, path, **rest)

    def door(self, method: str, path: str, **rest: Any) -> Answer:
        """The URL's answer."""
        headers = {**rest.pop("headers", {}), "host": self.host}
        return self.api.request(method, path, headers=headers, **rest)

    @property
    def api(self) -> Api:
        """The API, whose server the URL's host leads to, too."""
        return self.stack.api


@pytest.fixture(scope="module")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    """A separate stack."""
    local = LocalStack(tmp_path_factory.mktemp("doors"), stack_settings="beat-url=on")
    try:
        outputs = local.start().until_ready()
        with Loop() as loop, Api(loop, outputs["origin"], outputs["adminToken"]) as api:
            url = urlsplit(api.beat(new_space("first"), "one")["beatAt"])
            assert (url.scheme, url.path) == ("http", "/")
            yield Doors(Stack(outputs, local.settings, loop, api, "", 0.0), url.netloc)
    finally:
        code = local.stop()
    assert code == 0, local.log.read_text()[-2000:]
    assert_gone(local.settings)


@pytest.mark.parametrize(
    "kind", ["text/plain;charset=UTF-8", "application/json", "application/octet-stream"]
)
def test_a_beat_is_the_same_by_both_doors_however_its_body_arrives(
    doors: Doors, space: str, kind: str
) -> None:
    method, path, message = beat(space, "tab", visitorId="ada", page="/bücher")
    data = json.dumps(message).encode()
    answers = doors.both(method, path, data=data, headers={"content-type": kind})
    assert [one.status for one in answers] == [200, 200], answers
    by_gateway, by_url = (one.body for one in answers)
    assert by_gateway.pop("beatAt").startswith(f"http://{doors.host}")
    assert "beatAt" not in by_url, "it is there already"
    assert by_url.keys() == by_gateway.keys()
    eventually(lambda: doors.api.headcount(space)["sessions"] == 1, 20)
    assert doors.api.headcount(space)["facets"]["page"][0]["value"] == "/bücher"


def test_a_beacons_leave_ends_the_visit_there_too(doors: Doors, space: str) -> None:
    method, path, message = beat(space, "tab")
    assert doors.door(method, path, body=message).status == 200
    eventually(lambda: doors.api.headcount(space)["sessions"] == 1, 20)
    plain = {"content-type": "text/plain;charset=UTF-8"}
    data = json.dumps({"sessionId": "tab"}).encode()
    assert doors.door("POST", f"{path}/leave", data=data, headers=plain).status == 200
    eventually(lambda: doors.api.headcount(space)["sessions"] == 0, 20)


def of_pages(answer: Answer) -> dict[str, str]:
    """The headers that decide what a page may do."""
    names = ("access-control-", "vary", "allow", "retry-after", "content-type")
    found = {name.lower(): value for name, value in answer.headers.items()}
    return {name: value for name, value in sorted(found.items()) if name.startswith(names)}


def test_a_preflight_is_answered_as_the_api_answers_it(doors: Doors, space: str) -> None:
    asked = {
        **PAGE,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    answers = doors.both("OPTIONS", f"{path_of(space)}/presence", headers=asked)
    assert [one.status for one in answers] == [204, 204], answers
    by_gateway, by_url = map(of_pages, answers)
    assert by_url == by_gateway
    assert "authorization" in by_url["access-control-allow-headers"].lower()


@pytest.mark.parametrize(
    ("status", "change"),
    [
        (400, {"data": b"[" * 1000}),
        (400, {"data": b"\xff\xfe"}),
        (400, {"body": {"sessionId": "a b\n"}}),
        (400, {"path": "/v1/spaces/nothing:here/presence"}),
        (404, {"path": "/v1/elsewhere"}),
        (405, {"method": "PUT"}),
        (413, {"data": b" " * 17 * 1024}),
    ],
)
def test_what_the_api_refuses_the_url_refuses_in_the_same_words(
    doors: Doors, space: str, status: int, change: dict[str, Any]
) -> None:
    method, path, message = beat(space, "tab")
    asked = {"method": method, "path": path, "headers": PAGE, **change}
    if "data" not in asked:
        asked.setdefault("body", message)
    by_gateway, by_url = doors.both(asked.pop("method"), asked.pop("path"), **asked)
    assert (by_url.status, by_gateway.status) == (status, status), (by_url, by_gateway)
    assert of_pages(by_url) == of_pages(by_gateway)
    if status != 404:  # there is more behind the API
        assert by_url.body == by_gateway.body
    assert doors.api.headcount(space)["sessions"] == 0


def test_the_url_has_no_reads(doors: Doors, space: str) -> None:
    assert doors.door("GET", path_of(space)).status == 404
    assert doors.door("GET", "/v1/spaces", token=doors.api.token).status == 404


@pytest.mark.browser
def test_a_page_beats_there_and_comes_back_to_the_api_while_the_url_refuses(
    doors: Doors, browser: Browser
) -> None:
    """Chromium's own CORS decides: Lambda's 429 has no header that lets a page read it."""
    space, client = new_space("page"), doors.stack.client("lambda")
    (function,) = [
        one["FunctionName"]
        for one in client.list_functions()["Functions"]
        if "BeatFunction" in one["FunctionName"]
    ]
    with serving(browser, doors.stack, space) as site:
        tab = site.tab("/a")
        asked: list[str] = []

        def note(request: Request) -> None:
            if request.method == "POST" and request.url.endswith("/presence"):
                asked.append(urlsplit(request.url).netloc)

        tab.page.on("request", note)
        tab.until(lambda: tab.answered == [200], 20)
        move = "history.pushState({{}}, '', '/{}')"
        tab.beat_after(lambda: tab.page.evaluate(move.format("b")))
        tab.until(lambda: tab.answered[1:] == [200], 20)
        assert asked[-1] == doors.host
        eventually(lambda: pages(doors.api, space) == ["/b"], 20)

        client.put_function_concurrency(FunctionName=function, ReservedConcurrentExecutions=0)
        try:
            before = len(asked)
            tab.beat_after(lambda: tab.page.evaluate(move.format("c")))
            tab.until(lambda: any("Access-Control-Allow-Origin" in one for one in tab.words), 20)
            assert asked[before] == doors.host
        finally:
            client.delete_function_concurrency(FunctionName=function)
        tab.until(lambda: tab.answered[2:] == [200], 30)
        assert asked[-1] == urlsplit(doors.stack.outputs["origin"]).netloc
        eventually(lambda: pages(doors.api, space) == ["/c"], 20)
        assert doors.api.headcount(space)["views"]["total"] == 1, "it is the same visit"
        tab.beat_after(lambda: tab.page.evaluate(move.format("d")))
        assert asked[-1] != doors.host, "it tries no second time"


def pages(api: Api, space: str) -> list[str]:
    """The pages with anyone."""
    return [facet["value"] for facet in api.headcount(space)["facets"].get("page", [])]
