"""Beats and leaves: limits, and errors that say how to fix them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from headcount.errors import InvalidRequestError
from headcount.model.beat import (
    MAX_PAGE,
    MAX_TOTAL_BYTES,
    SOURCES,
    Beat,
    Leave,
    fitted,
    plain_beat,
    plain_leave,
    shown_page,
)
from headcount.model.session import Arrival, Facts, Session, after_beat
from headcount.model.space import Kinds
from headcount.store.presence import to_item
from headcount.usecases.cleanup import DAYS_OF_BEATS
from headcount.web.bodies import BeatMessage, LeaveMessage, parse
from headcount.web.parsing import parse_beat, parse_leave
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from lab.harness.clock import NOON
from lab.harness.sizes import item_size

SPACE = "site:main"


def error_of(body: object) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as refused:
        parse_beat(body, SPACE)
    return refused.value


def test_the_smallest_beat_is_a_session() -> None:
    assert parse_beat({"sessionId": "s1"}, SPACE) == Beat(session_id="s1")


def test_everything_else_may_be_null_or_left_out() -> None:
    nothing = dict.fromkeys(["visitorId", "userId", "name", "avatar", "page", "seq"])
    assert parse_beat({"sessionId": "s1", **nothing}, SPACE) == Beat(session_id="s1")


def test_every_field_is_read() -> None:
    beat = parse_beat(
        {
            "sessionId": "s1",
            "visitorId": "v1",
            "userId": "u1",
            "name": "Ada",
            "avatar": "https://example.test/a.png",
            "page": "/",
            "facets": {"device": "phone"},
            "state": "hidden",
            "seq": 2**53,
            "changed": True,
        },
        SPACE,
    )
    assert beat.changed
    assert beat.seq == 2**53
    assert beat.facets == {"device": "phone"}
    assert beat.state == "hidden"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sessionId": ""}, "sessionId must not be empty."),
        ({"sessionId": 7}, "sessionId must be a string."),
        ({"sessionId": None}, "sessionId must be a string."),
        ({"sessionId": "a\x00"}, "sessionId must not contain control characters."),
        ({"sessionId": "a\x7f"}, "sessionId must not contain control characters."),
        ({"sessionId": "x" * 129}, "sessionId must be at most 128 bytes, it is 129."),
        ({"visitorId": "é" * 65}, "visitorId must be at most 128 bytes, it is 130."),
        (
            {"visitorId": "~v"},
            "visitorId must not begin with '~': such ids are Headcount's own.",
        ),
        ({"userId": ""}, "userId must not be empty."),
        ({"name": 7}, "name must be a string."),
        ({"avatar": {}}, "avatar must be a string."),
        ({"page": 7}, "page must be a string."),
        ({"seq": -1}, "seq must be 0 or more."),
        ({"seq": 2**53 + 1}, "seq must be at most 2^53."),
        ({"seq": "1"}, "seq must be a whole number."),
        ({"seq": True}, "seq must be a whole number."),
        ({"changed": 1}, "changed must be true or false."),
        ({"state": "asleep"}, "state must be 'active' or 'hidden'."),
        ({"facets": []}, "facets must be an object of strings."),
        ({"facets": {"a": 1}}, "a value in facets must be a string."),
        (
            {"facets": {"page": "/"}},
            "facets must not name 'page': send it as the field 'page'.",
        ),
    ],
)
def test_an_error_is_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    error = error_of({"sessionId": "s1", **changes})
    assert error.message == sentence
    assert error.details == [sentence]


@pytest.mark.parametrize("name", ["", "1a", "a.b", "a b", "é", "a" * 33, "$a"])
def test_a_facets_name_is_a_word(name: str) -> None:
    error = error_of({"sessionId": "s1", "facets": {name: "x"}})
    assert "has a name that is not valid" in error.message


def test_a_missing_session_is_asked_for() -> None:
    assert error_of({}).message == "sessionId is missing: send it as a string."


@pytest.mark.parametrize("body", [None, [], "text", 7, True])
def test_a_body_that_is_no_object_gets_an_example(body: object) -> None:
    assert "JSON object" in error_of(body).message


def test_all_errors_are_listed() -> None:
    assert len(error_of({"sessionId": 1, "name": 2, "seq": "x"}).details) == 3


def test_no_error_repeats_what_was_sent() -> None:
    secret = "ada@example.test\n"
    error = error_of({"sessionId": secret, "name": secret, "facets": {"a": secret, secret: "x"}})
    assert "ada" not in " ".join([error.message, *error.details])


def test_limits_are_bytes_and_the_last_one_fits() -> None:
    assert parse_beat({"sessionId": "é" * 64}, SPACE).session_id == "é" * 64
    assert parse_beat({"sessionId": "s", "name": "😀" * 25}, SPACE).name == "😀" * 25


# --------------------------------------------------- what is only shown decides nobody's presence


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ({"name": "😀" * 26}, {"name": "😀" * 25}),
        ({"name": "Ada\nLovelace\x00"}, {"name": "Ada Lovelace"}),
        ({"name": "Ada \ud83d"}, {"name": "Ada"}),  # a character that a client cut in half
        ({"avatar": "https://example.test/" + "a" * 326}, {"avatar": None}),
        ({"avatar": "https://example.test/\n"}, {"avatar": None}),
        ({"page": "/" + "é" * 200}, {"page": "/" + "é" * 149}),
        ({"facets": {"title": "é" * 35}}, {"facets": {"title": "é" * 32}}),
        ({"facets": {"title": "", "part": "b"}}, {"facets": {"part": "b"}}),
        (
            {"facets": {f"f{number}": "x" for number in range(9)}},
            {"facets": {f"f{number}": "x" for number in range(8)}},
        ),
        ({"details": {"title": "é" * 101, "none": ""}}, {"details": {"title": "é" * 100}}),
        (
            {"details": {f"f{number}": number for number in range(9)}},
            {"details": {f"f{number}": number for number in range(8)}},
        ),
    ],
)
def test_what_is_only_shown_is_cut_or_left_out(
    sent: dict[str, Any], stored: dict[str, Any]
) -> None:
    body = {"sessionId": "s1", **sent}
    beat = plain_beat(body)
    assert beat == Beat(session_id="s1", **stored)
    assert parse(BeatMessage, body).beat == beat


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("/caf%C3%A9", "/café"),
        ("/caf%c3%a9", "/café"),
        ("/a%20b", "/a b"),
        ("/100%25", "/100%"),
        ("/100%", "/100%"),
        ("/a%2Fb%3fc%23d", "/a%2Fb%3Fc%23d"),  # would be another page
        ("/%E9t%C3%A9", "/%E9té"),  # Latin-1, then UTF-8
        ("/%C3%A9%C3", "/é%C3"),
        ("/a%0Ab%C2%85c%00", "/a%0Ab%C2%85c%00"),
        ("/%ED%A0%80", "/%ED%A0%80"),  # half of a surrogate pair is no text
        ("/%F0%9F%98%80", "/😀"),
        ("/" + "%D0%B0" * 160, "/" + "а" * 149),
        (
            "/%D0%BD%D0%BE%D0%B2%D0%BE%D1%81%D1%82%D0%B8/2026/%D0%BA%D0%B0%D0%BA-%D0%B2",
            "/новости/2026/как-в",
        ),
    ],
)
def test_a_page_is_stored_as_people_read_it(sent: str, stored: str) -> None:
    assert shown_page(sent) == stored


@given(st.text(max_size=400))
def test_a_page_of_any_text_is_stored_within_its_limit(text: str) -> None:
    assert len(shown_page(text).encode()) <= MAX_PAGE


def test_long_pages_that_differ_late_are_two() -> None:
    start = "/новости/2026/как-выбрать-"
    pages = {shown_page(quote(start + what)) for what in ("велосипед-для-города", "ноутбук")}
    assert pages == {start + "велосипед-для-города", start + "ноутбук"}


def test_a_beat_that_is_too_large_has_less_to_show_and_counts() -> None:
    ids = {"sessionId": "s" * 128, "visitorId": "v" * 128, "userId": "u" * 128}
    shows = {
        "name": "n" * 100,
        "avatar": "a" * 300,
        "page": "/" + "p" * 299,
        "facets": {f"facet{number}": "x" * 60 for number in range(8)},
        "details": {"title": "t" * 200, "position": 3},
    }
    space = "course:" + "c" * 128
    beat = parse_beat({**ids, **shows}, space, "c" * 16)
    assert (beat.session_id, beat.visitor_id, beat.user_id) == tuple(ids.values())
    assert row_size(space, beat) <= 1024
    small = parse_beat({"sessionId": "s1", **shows}, SPACE)
    assert (small.avatar, small.details) == (None, {"position": 3})
    assert small.name == shows["name"]
    assert small.page
    assert small.facets


def test_sources_are_missed_before_anything_else() -> None:
    own = {"chapter": "1"}
    fits = {"sessionId": "s" * 100, "page": "p" * 300, "avatar": "a" * 150, "facets": own}
    body = {**fits, "facets": {**own, "referrer": "r" * 60, "browser": "Chrome", "entry": "/"}}
    beat = parse_beat(body, SPACE)
    assert beat.avatar == "a" * 150
    assert beat.facets == {**own, "browser": "Chrome", "entry": "/"}


def test_sources_are_no_part_of_the_eight_facets() -> None:
    own = {f"f{number}": "x" for number in range(8)}
    sources = dict.fromkeys(sorted(SOURCES), "y")
    body = {"sessionId": "s1", "facets": {**sources, **own, "more": "z"}}
    assert plain_beat(body) == Beat(session_id="s1", facets={**sources, **own})
    assert parse(BeatMessage, body).beat == plain_beat(body)


def test_an_entry_page_is_stored_as_pages_are() -> None:
    path = "/новости/2026/как-выбрать"
    body = {"sessionId": "s1", "facets": {"entry": quote(path), "referrer": "%D0"}}
    assert plain_beat(body) == Beat("s1", facets={"entry": path, "referrer": "%D0"})
    assert parse(BeatMessage, body).beat == plain_beat(body)


def test_the_avatar_is_missed_least() -> None:
    body = {"sessionId": "s" * 100, "page": "p" * 300, "avatar": "a" * (200 - len(SPACE))}
    assert parse_beat(body, SPACE).avatar == body["avatar"]
    assert parse_beat({**body, "name": "n"}, SPACE) == replace(
        parse_beat(body, SPACE), name="n", avatar=None
    )


def test_a_leave_is_a_session_and_a_number() -> None:
    assert parse_leave({"sessionId": "s1", "seq": 3}) == Leave(session_id="s1", seq=3)
    with pytest.raises(InvalidRequestError, match="sessionId is missing"):
        parse_leave({"seq": 3})


def row_size(
    space: str, beat: Beat, *, days: int = 1, request: str = "r" * 16, parts: int = 0
) -> int:
    arrival = Arrival(
        space=space,
        shard=99,
        session=beat.session_id,
        facts=Facts.from_beat(beat, user=beat.user_id, verified=True),
        lease=Kinds("site").kind("site").lease_for(beat.state),
        seq=beat.seq,
        request=request,
        now=NOON,
    )
    session = after_beat(None, arrival)
    assert isinstance(session, Session)
    item = to_item(session, parts)
    for day in range(1, days):
        item["beats"]["M"][f"2026-12-{day:02d}"] = {"N": "2880"}
    return item_size(item)


def largest_beat(space: str) -> dict[str, Any]:
    body = {
        "sessionId": "s" * 36,
        "visitorId": "v" * 36,
        "userId": "u" * 36,
        "name": "n" * 60,
        "facets": {f"facet{number}": "x" * 10 for number in range(8)},
        "state": "hidden",
        "seq": 2**53,
    }
    left = MAX_TOTAL_BYTES - len(space) - 36 * 3 - 60 - 8 * 16
    return {**body, "page": "p" * (left // 2), "avatar": "a" * (left - left // 2)}


@pytest.mark.parametrize("space", ["site:main", "course:" + "c" * 36, "a" * 32 + ":" + "c" * 128])
def test_the_largest_beat_is_one_write_unit_even_after_nine_days(space: str) -> None:
    beat = parse_beat(largest_beat(space), space)
    assert beat.avatar is not None
    assert row_size(space, beat, days=DAYS_OF_BEATS + 1, request="r" * 36) <= 1024
    assert row_size(space, beat, days=DAYS_OF_BEATS, request="r" * 36, parts=64) <= 1024
    assert parse_beat({**largest_beat(space), "name": "n" * 61}, space).avatar is None


def test_the_largest_beat_with_all_sources_is_one_write_unit_too() -> None:
    body = largest_beat(SPACE)
    beat = parse_beat(body, SPACE)
    more = dict.fromkeys([*sorted(SOURCES), "device", "country", "robot"], "y")
    room = sum(len(name) + 2 for name in more)
    assert beat.avatar is not None
    beat = replace(beat, avatar=beat.avatar[:-room], facets={**beat.facets, **more})
    assert fitted(beat, SPACE) == beat
    assert row_size(SPACE, beat, days=DAYS_OF_BEATS + 1, request="r" * 36) <= 1024
    assert fitted(replace(beat, name="n" * 61), SPACE) != beat


Texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)


@given(
    st.fixed_dictionaries(
        {"sessionId": Texts},
        optional={
            "visitorId": Texts,
            "userId": Texts,
            "name": Texts,
            "page": Texts,
            "facets": st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), Texts),
        },
    )
)
@settings(max_examples=150)
def test_every_accepted_beat_fits_in_one_write_unit(body: dict[str, Any]) -> None:
    try:
        beat = parse_beat(body, SPACE)
    except InvalidRequestError:
        return
    assert row_size(SPACE, beat) <= 1024


NUMBERS = st.one_of(
    st.integers(-3, 2**54), st.floats(), st.booleans(), st.none(), st.sampled_from([2**31, 2**53])
)
TEXTS = st.one_of(
    st.text(max_size=130),
    st.sampled_from(["", "~x", "page", "é" * 64, "é" * 65, "x" * 300, "x" * 301, "\x85", "\ud800"]),
)
ANYTHING = st.one_of(TEXTS, NUMBERS, st.lists(TEXTS, max_size=1))
NAMED = st.dictionaries(
    st.one_of(st.from_regex(r"\A[a-zA-Z][\w-]{0,4}\Z"), TEXTS), ANYTHING, max_size=9
)
FIELDS = {
    **dict.fromkeys(["sessionId", "visitorId", "userId", "name", "avatar", "page"], TEXTS),
    "state": st.sampled_from(["active", "hidden", "gone"]),
    "seq": NUMBERS,
    "changed": NUMBERS,
    **dict.fromkeys(["facets", "quality", "engagement", "details"], NAMED),
    **dict.fromkeys(["session_id", "other"], TEXTS),
}


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, object]:
    """Beats with wrong fields: mostly one or none."""
    names = draw(st.sets(st.sampled_from(sorted(FIELDS)), max_size=5)) | {"sessionId"}
    body = {name: draw(FIELDS[name]) for name in sorted(names)}
    if draw(st.booleans()):
        body["sessionId"] = "s1"
    if draw(st.integers(0, 4)) == 0:
        body[draw(st.sampled_from(sorted(FIELDS)))] = draw(ANYTHING)
    return body


@pytest.mark.slow
@settings(max_examples=1_500)
@given(bodies())
def test_the_fast_path_accepts_only_what_the_model_accepts(body: dict[str, object]) -> None:
    beat = plain_beat(body)
    if beat is not None:
        assert beat == parse(BeatMessage, body).beat
    leave = plain_leave(body)
    if leave is not None:
        assert leave == parse(LeaveMessage, body).leave


def test_usual_beats_take_the_fast_path() -> None:
    body = {
        "sessionId": "s1",
        "visitorId": "v1",
        "userId": None,
        "name": "Ada",
        "avatar": "https://example.test/a.png",
        "page": "/",
        "facets": {"device": "desktop"},
        "state": "hidden",
        "seq": 7,
        "changed": True,
        "quality": {"latency": 1.25},
        "engagement": {"chat": 2},
        "details": {"title": "One", "position": 3},
    }
    assert plain_beat(body) == parse(BeatMessage, body).beat
    assert plain_leave({"sessionId": "s1", "seq": 7}) == Leave("s1", 7)
