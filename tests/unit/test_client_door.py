"""Beats at the cheaper address that an answer names: and back at the API's where one fails."""

from __future__ import annotations

from typing import Any

from tests.unit.test_client_by_connection import story

URL = "https://abc.lambda-url.eu-west-1.on.aws/"
AT = f"{URL}v1/spaces/site%3Amain/presence"
BY_HTTP = ("connect", {"presence": "http"})


def posted(*steps: tuple[Any, ...]) -> list[str | None]:
    """Where the beats of a story went; None: to the API."""
    return [one.get("at") for one in story(*steps) if "posted" in one]


def test_beats_after_the_first_go_where_its_answer_says() -> None:
    assert posted(("door", URL), BY_HTTP, ("pass", 95)) == [None, AT, AT, AT]


def test_without_such_an_answer_all_go_to_the_api() -> None:
    assert posted(BY_HTTP, ("pass", 95)) == [None] * 4


def test_a_beat_that_fails_there_is_sent_to_the_api_and_so_are_all_that_follow() -> None:
    steps = [("door", URL), BY_HTTP, ("pass", 40), ("door", URL, False), ("pass", 95)]
    assert posted(*steps) == [None, AT, AT, None, None, None]
