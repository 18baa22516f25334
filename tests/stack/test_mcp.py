"""An agent's program starts `headcount mcp` as the page says, and asks about the running stack."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters, stdio_client

from lab.harness.clients import Api, eventually
from lab.harness.template import ROOT
from tests.docs.pages import page
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack


def parameters(stack: Stack, *, token: str, args: list[str] | None = None) -> StdioServerParameters:
    """What the page's file says, with this stack's address and this token."""
    text = next(one.text for one in page(ROOT / "docs" / "mcp.md").blocks if one.language == "text")
    text = text.replace("https://YOUR-HTTP-URL", stack.outputs["origin"])
    started = json.loads(text.replace("YOUR-TOKEN", token))["mcpServers"]["headcount"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADCOUNT")}
    local = {"HEADCOUNT_LOCAL_DIR": str(stack.settings.home), "NO_PROXY": "localhost"}
    return StdioServerParameters(
        command=str(Path(sys.executable).with_name(started["command"])),
        args=args or started["args"],
        env={**kept, **local, **started["env"]},
    )


async def answers(
    server: StdioServerParameters, calls: dict[str, dict[str, Any]]
) -> dict[str, Any]:
    """What each tool answers, or the text of its error."""
    found = {}
    async with Client(stdio_client(server)) as client:
        for name, arguments in calls.items():
            answer = await client.call_tool(name, arguments)
            (content,) = answer.content
            found[name] = content.text if answer.is_error else answer.structured_content
    return found


def test_an_agent_asks_about_the_running_stack(stack: Stack, api: Api, space: str) -> None:
    api.beat(space, "tab-1", userId="ada", name="Ada", page="/start")
    eventually(lambda: api.headcount(space)["people"] == 1, 20)
    calls: dict[str, dict[str, Any]] = {
        "live_spaces": {"kind": "site", "limit": 100},
        "who_is_here": {"space": space},
        "timeline": {"space": space},
        "compare": {"space": space},
        "explain": {"space": space},
    }
    token = stack.token(headcount_scopes="*:*", sub="agent")
    found = stack.loop.run(answers(parameters(stack, token=token), calls))
    assert space in [one["space"] for one in found["live_spaces"]["spaces"]]
    assert (found["who_is_here"]["people"], found["who_is_here"]["viewers"][0]["name"]) == (
        1,
        "Ada",
    )
    assert len(found["timeline"]["points"]) > 50
    assert found["compare"]["now"]["people"] == 1
    assert found["explain"]["published"]["people"] == 1
    numbers = stack.token(headcount_scopes="read:*")
    found = stack.loop.run(answers(parameters(stack, token=numbers), calls))
    assert (found["who_is_here"]["people"], found["who_is_here"]["viewers"]) == (1, None)
    assert re.search("it needs the scope people:", found["explain"])


def test_an_agent_has_the_local_stack_examined(stack: Stack) -> None:
    server = parameters(stack, token="", args=["mcp", "--local"])
    found = stack.loop.run(answers(server, {"doctor": {}}))["doctor"]
    assert found["counts"]["ok"] > 50
    assert found["counts"]["fail"] == len(
        [1 for one in found["findings"] if one["status"] == "fail"]
    )
    assert stack.outputs["adminToken"] not in json.dumps(found)
