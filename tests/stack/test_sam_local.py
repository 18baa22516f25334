"""`sam local` beside a running stack: every event of events/ as it is, and the HTTP API."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from headcount.store.keys import Counts, Presence, Streams, Subscriptions

from lab.harness.clients import Api, eventually
from lab.harness.template import ROOT, template
from local import clock
from local.build import SAM, build_lock
from local.lambda_image import engine, provide
from local.ports import free_port, is_taken
from local.settings import BUILD_DIR, UsageError
from tests.stack.conftest import Stack
from tests.support.missing import missing

pytestmark = [
    pytest.mark.stack,
    pytest.mark.sam_local,
    pytest.mark.exhaustive,
    pytest.mark.skipif(clock.moved_by() != 0, reason="a container keeps the machine's clock"),
]

SITE = "site:main"
EVENTS = sorted(path.stem for path in (ROOT / "events").glob("*.json"))
FUNCTIONS = {
    Path(properties["CodeUri"]).name: logical_id
    for logical_id, properties in template().of_type("AWS::Serverless::Function").items()
}


def event(name: str) -> Any:
    return json.loads((ROOT / "events" / f"{name}.json").read_text())


def function_of(name: str) -> str:
    """The logical id of the function whose folder an event's name begins with."""
    folder = max((one for one in FUNCTIONS if f"{name}_".startswith(f"{one}_")), key=len)
    return FUNCTIONS[folder]


@dataclass(frozen=True)
class Sam:
    """SAM CLI with the flags of samconfig.toml, without any AWS settings of the machine."""

    config: Path

    def command(self, *arguments: str) -> dict[str, Any]:
        """How to start `sam local ...`."""
        kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}
        flags = ("--config-env", "local", "--config-file", str(self.config))
        return {
            "args": [SAM, "local", *arguments, *flags],
            "cwd": ROOT,
            "env": {**kept, "SAM_CLI_TELEMETRY": "0"},
        }

    def invoke(self, name: str, changed: Any = None) -> Any:
        """The function's result for an event of events/, or for a changed copy of it."""
        given = f"events/{name}.json" if changed is None else "-"
        done = subprocess.run(
            **self.command("invoke", function_of(name), "--event", given),
            input=None if changed is None else json.dumps(changed),
            check=False,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert not isinstance(result, dict) or "errorMessage" not in result, done.stderr
        return result

    @contextmanager
    def api(self) -> Iterator[str]:
        """`sam local start-api`, and its address."""
        port = free_port()
        command = self.command("start-api", "--port", str(port))
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
        log = self.config.with_name("start-api.log")
        with (
            log.open("wb") as output,
            subprocess.Popen(**command, **quiet, stderr=output) as process,
        ):
            try:
                eventually(lambda: is_taken(port) or process.poll() is not None, 60, log.read_text)
                assert process.poll() is None, log.read_text()
                yield f"http://127.0.0.1:{port}"
            finally:
                process.terminate()  # its containers end with it
                process.wait(60)


@pytest.fixture(scope="module")
def sam(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Sam:
    """SAM CLI with a Docker engine, an image, and this stack's files instead of `make run`'s.

    Its build is a copy: another build meanwhile begins by removing the folder.
    """
    try:
        with closing(engine()) as client:
            provide(client)
    except UsageError as error:
        missing("The runtime of `sam local`", str(error))
    folder = tmp_path_factory.mktemp("sam")
    with ThreadPoolExecutor(1) as thread:  # a browser's event loop may run in this one
        thread.submit(lambda: asyncio.run(copy_build(folder / "build"))).result()
    text = (ROOT / "samconfig.toml").read_text()
    text = text.replace(".aws-sam/local/", f"{folder}/build/")
    config = folder / "samconfig.toml"
    config.write_text(text.replace(".local/", f"{stack.settings.home}/"))
    return Sam(config)


async def copy_build(folder: Path) -> None:
    """A copy of the stack's build, taken between two builds."""
    async with build_lock():
        shutil.copytree(BUILD_DIR, folder)


def row(stack: Stack, role: str, **key: str) -> Any:
    """A row of one of the stack's tables, or None."""
    keys = {name: {"S": text} for name, text in key.items()}
    table = stack.outputs["tables"][role]
    return stack.client("dynamodb").get_item(TableName=table, Key=keys).get("Item")


def body_of(answer: Any, status: int) -> Any:
    """The JSON of an answer, which must have that status."""
    assert answer["statusCode"] == status, answer
    return json.loads(answer["body"])


def sample_beat(sam: Sam, stack: Stack) -> None:
    answer = body_of(sam.invoke("beat_join"), 200)
    assert (answer["success"], answer["space"], answer["nextBeatIn"]) == (True, SITE, 30)
    session = json.loads(event("beat_join")["body"])["sessionId"]
    kept = row(stack, "presence", **{Presence.PARTITION: f"{SITE}#0", Presence.SORT: session})
    assert kept["page"] == {"S": "/pricing"}


def sample_read(sam: Sam, stack: Stack) -> None:
    answer = body_of(sam.invoke("api_headcount"), 200)
    assert answer["space"] == SITE
    assert answer.keys() == stack.api.headcount(SITE).keys()


def sample_page(sam: Sam, stack: Stack) -> None:
    answer = sam.invoke("site_dashboard")
    assert answer["statusCode"] == 200
    page = gzip.decompress(base64.b64decode(answer["body"]))
    assert b"<title>Headcount</title>" in page
    # The sockets are those of the running stack: SAM CLI has none.
    running = stack.outputs["webSocketUrl"].removesuffix("/ws")
    assert running in answer["headers"]["content-security-policy"]


def sample_connection(sam: Sam, stack: Stack) -> None:
    connect = event("socket_connect")
    assert "not valid here" in body_of(sam.invoke("socket_connect"), 401)["error"]
    connect["queryStringParameters"]["token"] = stack.outputs["adminToken"]
    assert sam.invoke("socket_connect", connect) == {"statusCode": 200}
    connection = Subscriptions.CONNECTION + connect["requestContext"]["connectionId"]
    itself = {Subscriptions.PARTITION: connection, Subscriptions.SORT: Subscriptions.SELF}
    assert row(stack, "subscriptions", **itself)


def sample_subscription(sam: Sam, stack: Stack) -> None:
    assert sam.invoke("socket_subscribe") == {"statusCode": 200}


def sample_end_of_a_connection(sam: Sam, stack: Stack) -> None:
    assert sam.invoke("socket_disconnect") == {"statusCode": 200}
    connection = event("socket_disconnect")["requestContext"]["connectionId"]
    rows = stack.client("dynamodb").scan(TableName=stack.outputs["tables"]["subscriptions"])[
        "Items"
    ]
    # An overdue chunk may have marked it: it gets no more versions of that space.
    aside = Subscriptions.ASIDE
    assert connection not in json.dumps(
        [row for row in rows if not row[Subscriptions.PARTITION]["S"].startswith(aside)]
    )


def sample_join(sam: Sam, stack: Stack) -> None:
    counted = {Counts.PARTITION: SITE, Counts.SORT: f"{Counts.SHARD}0"}
    stack.client("dynamodb").delete_item(
        TableName=stack.outputs["tables"]["counts"],
        Key={name: {"S": text} for name, text in counted.items()},
    )
    assert sam.invoke("count_join") is None
    assert row(stack, "counts", **counted)


def sample_counts(sam: Sam, stack: Stack) -> None:
    assert sam.invoke("publish_counts") == {"batchItemFailures": []}
    version = stack.api.headcount(SITE)["version"]
    assert version >= 1
    # The sample delays none of the stream's own records.
    stack.api.beat(SITE, "stk-after-the-sample")
    eventually(lambda: stack.api.headcount(SITE)["version"] > version, 60)
    stack.api.leave(SITE, "stk-after-the-sample")


def sample_chunk(sam: Sam, stack: Stack) -> None:
    (record,) = event("fanout_chunk")["Records"]
    (gone,) = json.loads(record["body"])["connections"]
    key = {Subscriptions.PARTITION: Subscriptions.CONNECTION + gone, Subscriptions.SORT: SITE}
    stack.client("dynamodb").put_item(
        TableName=stack.outputs["tables"]["subscriptions"],
        Item={name: {"S": text} for name, text in key.items()},
    )
    assert sam.invoke("fanout_chunk") == {"batchItemFailures": []}
    assert (
        row(stack, "subscriptions", **key) is None
    )  # the sample is overdue: its dashboard reconnects
    aside = {Subscriptions.PARTITION: Subscriptions.ASIDE + SITE, Subscriptions.SORT: gone}
    assert row(stack, "subscriptions", **aside)


def sample_deferred(sam: Sam, stack: Stack) -> None:
    assert sam.invoke("deferred_overview") == {"batchItemFailures": []}


def sample_visit(sam: Sam, stack: Stack) -> None:
    assert sam.invoke("events_visit") == {"batchItemFailures": []}


def sample_delivery(sam: Sam, stack: Stack) -> None:
    (record,) = event("webhook_joined")["Records"]
    undelivered = [{"itemIdentifier": record["messageId"]}]  # there is no receiver here
    assert sam.invoke("webhook_joined") == {"batchItemFailures": undelivered}


def sample_erasure(sam: Sam, stack: Stack) -> None:
    (record,) = event("erase_begin")["Records"]
    stack.api.beat("site:sam-local", "erased", userId=json.loads(record["body"])["user"])
    known = {Presence.PARTITION: "site:sam-local#0", Presence.SORT: "erased"}
    assert row(stack, "presence", **known)
    assert sam.invoke("erase_begin") is None
    # It left the next step in the queue, where the running stack takes it from.
    eventually(lambda: row(stack, "presence", **known) is None, 60)


def sample_sweep(sam: Sam, stack: Stack) -> None:
    report = sam.invoke("cleanup_schedule")
    assert report["rows"] >= 1
    assert report["failed"] == []


def sample_night(sam: Sam, stack: Stack) -> None:
    assert sam.invoke("daily_schedule")["written"] >= 0


def sample_launch(sam: Sam, stack: Stack) -> None:
    launch = event("containers_launch")
    assert "not valid here" in body_of(sam.invoke("containers_launch"), 401)["error"]
    launch["headers"]["authorization"] = f"Bearer {stack.outputs['adminToken']}"
    refusal = body_of(sam.invoke("containers_launch", launch), 409)
    assert "task-definition" in refusal["error"]


def sample_change_of_a_container(sam: Sam, stack: Stack) -> None:
    assert sam.invoke("container_changes_task") is None
    container = event("container_changes_task")["detail"]["taskArn"].rpartition("/")[2]
    kept = row(stack, "streams", **{Streams.PARTITION: Streams.CONTAINER, Streams.SORT: container})
    assert kept["last_status"] == {"S": "RUNNING"}


SAMPLES: dict[str, Callable[[Sam, Stack], None]] = {
    "beat_join": sample_beat,
    "api_headcount": sample_read,
    "cleanup_schedule": sample_sweep,
    "container_changes_task": sample_change_of_a_container,
    "containers_launch": sample_launch,
    "count_join": sample_join,
    "daily_schedule": sample_night,
    "erase_begin": sample_erasure,
    "deferred_overview": sample_deferred,
    "events_visit": sample_visit,
    "fanout_chunk": sample_chunk,
    "publish_counts": sample_counts,
    "site_dashboard": sample_page,
    "socket_connect": sample_connection,
    "socket_disconnect": sample_end_of_a_connection,
    "socket_subscribe": sample_subscription,
    "webhook_joined": sample_delivery,
}


def test_the_page_has_every_event_with_its_function() -> None:
    page = (ROOT / "docs" / "sam-local.md").read_text()
    for name in EVENTS:
        assert f"\n| `events/{name}.json` | `{function_of(name)}` | " in page


@pytest.mark.parametrize("name", EVENTS)
def test_an_event_goes_through_its_function_in_a_container(
    sam: Sam, stack: Stack, name: str
) -> None:
    if name in SAMPLES:
        SAMPLES[name](sam, stack)
    else:
        sam.invoke(name)


def test_the_http_api_answers_a_beat_and_the_running_stack_counts_it(
    sam: Sam, stack: Stack, space: str
) -> None:
    with sam.api() as origin, Api(stack.loop, origin, "") as api:
        assert api.beat(space, "s1", visitorId="v1")["space"] == space
        eventually(lambda: api.headcount(space)["people"] == 1, 30)
        assert stack.api.headcount(space)["people"] == 1
        assert api.request("GET", "/dashboard").status == 200
        assert api.request("GET", "/v1/nothing").status == 404
