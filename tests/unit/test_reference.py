"""The OpenAPI and AsyncAPI documents as pages."""

from __future__ import annotations

import re
from typing import Any

import pytest
from headcount.documents import asyncapi, openapi

from local.reference import http_calls, websocket_messages

HTTP = openapi.document(("site", "course"), "")
SOCKETS = asyncapi.document(("site", "course"), "")


def headings(page: str) -> list[str]:
    return re.findall(r"^#+ (.*)$", page, re.M)


def test_every_call_has_its_parameters_body_and_answers() -> None:
    page = http_calls(HTTP)
    calls = {
        f"{method.upper()} {path}": call
        for path, methods in HTTP["paths"].items()
        for method, call in methods.items()
    }
    assert len(calls) > 60
    assert [name for name in headings(page) if name in calls] == [
        *dict.fromkeys(name for name in headings(page) if name in calls)
    ]
    assert {*calls} <= {*headings(page)}
    beat = page[page.index("### POST /v1/spaces/{space}/presence\n") :]
    beat = beat[: beat.index("\n### ", 4)]
    assert "| `space` | path | string |" in beat
    assert "Body (application/json): [Beat](#beat)" in beat
    assert re.search(r"\| 200 \| \[\w+\]\(#\w+\) \|", beat)
    assert re.search(r"\| 429 \|", beat)


def test_every_message_is_under_its_channel_by_direction() -> None:
    page = websocket_messages(SOCKETS)
    dashboards = page[page.index("## Dashboards: /ws") : page.index("## Viewers: /ws")]
    sent, received = dashboards.split("**You get**")
    assert "- [Subscribe](#subscribe): Subscribe to a space" in sent
    assert "- [HeadcountMessage](#headcountmessage)" in received
    for channel in SOCKETS["channels"].values():
        assert f"{channel['title']}: {channel['address']}" in headings(page)


@pytest.mark.parametrize(
    ("page", "document"),
    [(http_calls(HTTP), HTTP), (websocket_messages(SOCKETS), SOCKETS)],
    ids=["OpenAPI", "AsyncAPI"],
)
def test_every_schema_is_described_once_and_every_link_leads_to_one(
    page: str, document: dict[str, Any]
) -> None:
    names = [name.lower() for name in headings(page)]
    links = set(re.findall(r"\]\(#([^)]*)\)", page))
    assert links <= set(names)
    for name, schema in document["components"]["schemas"].items():
        assert names.count(name.lower()) == 1, name
        for field in schema.get("properties", {}):
            assert f"| `{field}` |" in page, (name, field)


def test_no_text_breaks_a_table() -> None:
    for page in (http_calls(HTTP), websocket_messages(SOCKETS)):
        for table in re.findall(r"(?:^\|.*\n)+", page, re.M):
            widths = {len(re.findall(r"(?<!\\)\|", row)) for row in table.splitlines()}
            assert len(widths) == 1, table
