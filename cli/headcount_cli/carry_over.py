"""Translates parameters of release 1.0.0 into the settings that replaced them."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from headcount_cli.output import note, print_line
from headcount_cli.target import Options, find_stack

MOVED: Mapping[str, Mapping[str, tuple[str, str]]] = {
    "Limits": {
        "RequestsPerSecond": ("requests-per-second", "2000"),
        "RequestsBurst": ("requests-burst", "4000"),
        "SocketMessagesPerSecond": ("socket-messages-per-second", "500"),
        "SocketMessagesBurst": ("socket-messages-burst", "1000"),
        "BeatsPerSession": ("beats-per-session", "20"),
        "InlineFanout": ("inline-fanout", "200"),
        "SweepsPerMinute": ("sweeps-per-minute", "1"),
        "TimelineDays": ("timeline-days", "30"),
        "DayRowsDays": ("day-rows-days", "400"),
    },
    "Settings": {
        "TokenCookie": ("token-cookie", ""),
        "AdminClaim": ("admin-claim", "headcount=admin"),
        "ScopeClaim": ("scope-claim", "headcount_scopes"),
        "AlertTopic": ("alert-topic", ""),
        "WebhookSecret": ("webhook-secret", ""),
        "Dashboard": ("dashboard", "true"),
    },
    "Containers": {
        "ContainerCluster": ("cluster", ""),
        "ContainerTaskDefinition": ("task-definition", ""),
        "ContainerSubnets": ("subnets", ""),
        "ContainerSecurityGroups": ("security-groups", ""),
        "ContainerPublicIp": ("public-ip", "false"),
        "ContainerLaunchType": ("launch-type", "FARGATE"),
        "ContainerName": ("container-name", ""),
        "ContainerTaskRole": ("task-role", ""),
        "ContainerExecutionRole": ("execution-role", ""),
    },
}
"""Parameter -> the parameters it replaced, each with its setting's name and its default."""

_LISTS = {"ContainerSubnets", "ContainerSecurityGroups"}


def replaced(given: Mapping[str, str]) -> dict[str, str]:
    """The new parameters for those of a stack of release 1.0.0; defaults are left out."""
    found = {}
    for parameter, moved in MOVED.items():
        settings = [
            f"{setting}={'+'.join(value.replace(',', ' ').split()) if name in _LISTS else value}"
            for name, (setting, default) in moved.items()
            if (value := given.get(name, default)) != default
        ]
        if settings and not (parameter == "Containers" and not given.get("ContainerCluster")):
            found[parameter] = ",".join(settings)
    return found


def overrides(parameters: Mapping[str, str]) -> str:
    """Options of `sam deploy`, quoted for SAM CLI and then for a shell."""
    values = [
        f'{name}="{value}"' if " " in value else f"{name}={value}"
        for name, value in parameters.items()
    ]
    return " ".join(["--parameter-overrides", *map(shlex.quote, values)])


async def command(options: Options) -> None:
    """Print the `sam deploy` that keeps the settings of a stack of release 1.0.0.

    Limits, Settings and Containers replaced 24 parameters. SAM CLI silently ignores parameters that
    the template no longer has.

    Example: [cyan]headcount carry-over --stack headcount[/]
    """
    stack = find_stack(options)
    found = replaced(stack.parameters)
    if found:
        name = shlex.quote(stack.name)
        print_line(f".venv/bin/sam deploy --stack-name {name} {overrides(found)}")
    else:
        note(f"There is nothing to carry over: deploy {stack.name} without more options.")
