"""A stack of release 1.0.0 keeps its settings, although its parameters were replaced."""

from __future__ import annotations

import shlex

import pytest
from headcount.settings import Settings
from headcount_cli.app import app
from headcount_cli.carry_over import MOVED, overrides, replaced
from samcli.cli.types import CfnParameterOverridesType
from typer.testing import CliRunner

from lab.harness.template import template
from tests.cli.test_targets import stack_of

T = template()
DEFAULTS = {name: default for moved in MOVED.values() for name, (_, default) in moved.items()}
ROLE = "arn:aws:iam::123456789012:role/ecs"
GIVEN = DEFAULTS | {
    "RequestsPerSecond": "5000",
    "BeatsPerSession": "0",
    "DayRowsDays": "800",
    "AdminClaim": "role=Site Admin",
    "ScopeClaim": "",
    "TokenCookie": "session",
    "Tracing": "true",
    "ContainerCluster": "live",
    "ContainerTaskDefinition": "encoder:7",
    "ContainerSubnets": "subnet-1, subnet-2",
    "ContainerLaunchType": "",
    "ContainerExecutionRole": ROLE,
}


def test_defaults_are_left_out() -> None:
    assert replaced(DEFAULTS) == {}
    assert replaced(T.defaults) == {}  # this release's own


def test_settings_keep_their_meaning() -> None:
    found = replaced(GIVEN)
    assert found == {
        "Limits": "requests-per-second=5000,beats-per-session=0,day-rows-days=800",
        "Settings": "token-cookie=session,admin-claim=role=Site Admin,scope-claim=",
        "Containers": "cluster=live,task-definition=encoder:7,subnets=subnet-1+subnet-2,"
        f"launch-type=,execution-role={ROLE}",
    }
    assert [name for name, value in found.items() if not T.takes(name, value)] == []
    api = Settings(T.environment("api", **found))
    assert (api.beats_per_session, api.day_rows_days, api.token_cookie) == (0, 800, "session")
    assert (api.tokens.admin_claim, api.tokens.scope_claim) == ("role=Site Admin", "")
    fleet = Settings(T.environment("containers", **found)).fleet
    assert (fleet.cluster, fleet.subnets, fleet.launch_type) == (
        "live",
        ("subnet-1", "subnet-2"),
        "",
    )


def test_every_setting_replaces_a_parameter() -> None:
    for parameter, moved in MOVED.items():
        description = T.parameters[parameter]["ConstraintDescription"]
        assert [setting for setting, _ in moved.values() if setting not in description] == []


@pytest.mark.parametrize(
    ("parameter", "setting", "read"),
    [
        ("Limits", "beats-per-session", lambda settings: str(settings.beats_per_session)),
        ("Limits", "inline-fanout", lambda settings: str(settings.inline_fanout)),
        ("Limits", "sweeps-per-minute", lambda settings: str(settings.sweeps_per_minute)),
        ("Limits", "timeline-days", lambda settings: str(settings.timeline_days)),
        ("Limits", "day-rows-days", lambda settings: str(settings.day_rows_days)),
        ("Settings", "token-cookie", lambda settings: settings.token_cookie),
        ("Settings", "admin-claim", lambda settings: settings.tokens.admin_claim),
        ("Settings", "scope-claim", lambda settings: settings.tokens.scope_claim),
        ("Containers", "launch-type", lambda settings: settings.fleet.launch_type),
    ],
)
def test_defaults_have_not_changed(parameter: str, setting: str, read: object) -> None:
    of_api = T.environment("api") | T.environment("publish") | T.environment("cleanup")
    settings = Settings(of_api | T.environment("containers"))
    before = dict(MOVED[parameter].values())
    assert callable(read)
    assert read(settings) == before[setting]


def test_sam_cli_parses_the_printed_options(monkeypatch: pytest.MonkeyPatch) -> None:
    stack = stack_of({}, **GIVEN)
    monkeypatch.setattr("headcount_cli.carry_over.find_stack", lambda _: stack)
    printed = CliRunner().invoke(app, ["carry-over", "--stack", "prod"])
    assert printed.exit_code == 0
    words = shlex.split(printed.output)
    assert words[:5] == [".venv/bin/sam", "deploy", "--stack-name", "prod", "--parameter-overrides"]
    read = CfnParameterOverridesType().convert(words[5:], None, None)
    assert read == replaced(GIVEN)
    assert (
        overrides({"Limits": "inline-fanout=0"}) == "--parameter-overrides Limits=inline-fanout=0"
    )


def test_a_stack_without_such_settings_gets_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headcount_cli.carry_over.find_stack", lambda _: stack_of({}, **DEFAULTS))
    printed = CliRunner().invoke(app, ["carry-over", "--stack", "prod"])
    assert printed.exit_code == 0
    assert "There is nothing to carry over" in printed.output
