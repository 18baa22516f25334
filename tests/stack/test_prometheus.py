"""Debian's Prometheus scrapes the running stack, as the page says, and the board shows it."""

from __future__ import annotations

import json
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.harness.clients import Api, eventually
from lab.harness.template import ROOT
from local.ports import free_port
from tests.docs.pages import page
from tests.stack.conftest import Stack
from tests.support.missing import missing

pytestmark = pytest.mark.stack

WITHIN = 75
"""Seconds until all has a value: the stack's first sweep may be a minute away."""

OF_THE_LARGEST = "headcount_recount_delay_seconds"
"""Has no value if a sweep made the last recount of the largest space: nothing had waited for it."""


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        missing("Prometheus", "install it (Debian and Ubuntu: `apt-get install prometheus`).")
    return found


def scrape(stack: Stack, token: str) -> str:
    url = f"{stack.outputs['origin']}/metrics"
    asked = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
    with urllib.request.urlopen(asked, timeout=20) as answer:
        return str(answer.read().decode())


@pytest.fixture
def prometheus(stack: Stack, tmp_path: Path) -> Iterator[str]:
    """A Prometheus with the page's configuration; yields the address of its API."""
    (block,) = [
        one for one in page(ROOT / "docs" / "prometheus.md").blocks if one.language == "yaml"
    ]
    host = stack.outputs["origin"].removeprefix("http://")
    config = yaml.safe_load(block.text.replace("YOUR-HTTP-URL", host))
    (job,) = config["scrape_configs"]
    job |= {"scheme": "http", "scrape_interval": "1s", "scrape_timeout": "1s"}
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(config))
    (tmp_path / "headcount-token").write_text(stack.token(headcount_scopes="read:*"))
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                tool("prometheus"),
                f"--config.file={file}",
                f"--storage.tsdb.path={tmp_path / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}/api/v1"
    finally:
        process.terminate()
        process.wait(20)


def result(prometheus: str, query: str) -> list[dict[str, Any]]:
    """What a query finds now; nothing while Prometheus does not answer yet."""
    url = f"{prometheus}/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            body = json.load(answer)
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{query}: {error.read().decode()}") from None
    except OSError:
        return []
    return list(body["data"]["result"])


def test_promtool_finds_nothing_wrong(stack: Stack, api: Api, space: str) -> None:
    api.beat(space, "s1")
    token = stack.token(headcount_scopes="read:*")
    eventually(lambda: f'space="{space}"' in scrape(stack, token), WITHIN)
    done = subprocess.run(
        [tool("promtool"), "check", "metrics"],
        check=False,
        input=scrape(stack, token),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_prometheus_scrapes_the_stack_and_the_boards_queries_find_something(
    prometheus: str, api: Api, space: str
) -> None:
    for session in ("s1", "s2"):
        api.beat(space, session, visitorId="v1")

    def people() -> list[Any]:
        found = result(prometheus, f'headcount_people{{space="{space}"}}')
        return [one["value"][1] for one in found]

    eventually(lambda: people() == ["1"], WITHIN, last=people)
    (up,) = result(prometheus, 'up{job="headcount"}')
    assert up["value"][1] == "1"
    board = json.loads((ROOT / "docs" / "grafana" / "headcount.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            found = partial(result, prometheus, target["expr"].replace("$kind", "site"))
            if OF_THE_LARGEST in target["expr"]:
                found()  # the query is valid
                continue
            eventually(found, WITHIN, last=lambda panel=panel: panel["title"])

    def sessions() -> list[Any]:
        found = result(prometheus, f'headcount_sessions{{space="{space}",kind="site"}}')
        return [one["value"][1] for one in found]

    for session in ("s1", "s2"):  # their leases may be over by now
        api.beat(space, session, visitorId="v1")
    eventually(lambda: sessions() == ["2"], WITHIN, last=sessions)
