"""`headcount doctor`: what is wrong with a deployed stack, and how to mend it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.markup import escape

from headcount_cli.doctor.findings import Finding, Status
from headcount_cli.output import console, say_json
from headcount_cli.target import Asked, find, find_stack

_STYLES = {
    Status.OK: ("✓", "green"),
    Status.INFO: ("·", "dim"),
    Status.UNKNOWN: ("?", "yellow"),
    Status.WARN: ("!", "yellow"),
    Status.FAIL: ("✗", "bold red"),
}


async def command(
    asked: Asked,
    everything: Annotated[
        bool, typer.Option("--all", help="Also what is as it should be.")
    ] = False,
) -> int:
    """What is wrong with a deployed stack, and how to mend it. Exit code 1 when something is.

    It compares tables, TTL, streams, event sources, schedules, functions, routes, permissions,
    queues, alarms, logs and the secret with the stack's own template, and looks at it from
    outside. It changes nothing.

    Example: [cyan]headcount doctor --stack headcount --region eu-central-1[/]
    """
    from headcount_cli.doctor.diagnosis import diagnose  # late: AWS's library takes its time

    if not (asked.stack or asked.url):
        asked = replace(asked, local=True)  # HEADCOUNT_URL names an API, and not its stack
    stack = find_stack(asked)
    target = find(asked)
    if target.stack is None:  # an address was named: the stack still is the one to examine
        target = replace(target, stack=stack)
    findings = await diagnose(target)
    is_well = not any(one.status is Status.FAIL for one in findings)
    if asked.json:
        counts = Counter(one.status for one in findings)
        say_json(
            {
                "stack": stack.name,
                "ok": is_well,
                "counts": {str(status): counts[status] for status in Status},
                "findings": [one.body() for one in findings],
            }
        )
    else:
        report(stack.name, findings, everything)
    return 0 if is_well else 1


def report(name: str, findings: list[Finding], everything: bool) -> None:
    """The findings for people: what is wrong comes last, where it is seen."""
    out: Any = console()
    order = list(Status)
    shown = [one for one in findings if everything or one.status is not Status.OK]
    for one in sorted(shown, key=lambda one: order.index(one.status)):
        mark, style = _STYLES[one.status]
        words = escape(f"{one.subject}: {one.check} {one.said}")
        out.print(f"[{style}]{mark}[/] {words}", soft_wrap=True)
        if one.mend:
            out.print(f"    [dim]mend:[/] {escape(one.mend)}", soft_wrap=True)
    counts = Counter(one.status for one in findings)
    faults = counts[Status.FAIL]
    verdict = f"{faults} faults" if faults > 1 else "1 fault" if faults else "no faults"
    out.print(
        f"[bold]{escape(name)}[/]: {len(findings)} checks, {counts[Status.OK]} as they should be, "
        f"{counts[Status.WARN]} warnings, {counts[Status.UNKNOWN]} not checked, [bold]{verdict}[/]",
        soft_wrap=True,
    )
