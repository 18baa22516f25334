"""`headcount doctor`: what is wrong with a deployed stack, and how to fix it."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Annotated, Any

import typer
from rich.markup import escape

from headcount_cli.doctor.findings import Finding, Status
from headcount_cli.output import console, print_json
from headcount_cli.target import Options, find_stack, find_target

_STYLES = {
    Status.OK: ("✓", "green"),
    Status.INFO: ("·", "dim"),
    Status.UNKNOWN: ("?", "yellow"),
    Status.WARN: ("!", "yellow"),
    Status.FAIL: ("✗", "bold red"),
}


async def command(
    options: Options,
    everything: Annotated[
        bool, typer.Option("--all", help="Also list the checks that passed.")
    ] = False,
) -> int:
    """Find what is wrong with a deployed stack, and how to fix it. Exit code 1 if there is a fault.

    Compares tables, TTL, streams, event sources, schedules, functions, routes, permissions, queues,
    alarms, logs, DNS records and the secret with the stack's own template and with the account's
    limits on AWS, and probes the stack from outside. Changes nothing.

    Example: [cyan]headcount doctor --stack headcount --region eu-central-1[/]
    """
    stack, findings = await examine(options)
    if options.json:
        print_json(body(stack, findings))
    else:
        report(stack, findings, everything)
    return 0 if is_healthy(findings) else 1


async def examine(options: Options) -> tuple[str, list[Finding]]:
    """The name of the stack that the options name, and all findings about it."""
    from headcount_cli.doctor.diagnosis import diagnose  # late: boto3 is slow to import

    if not (options.stack or options.url):
        options = replace(options, local=True)  # HEADCOUNT_URL names an API, not its stack
    stack = find_stack(options)
    target = find_target(options)
    if target.stack is None:  # found by its address: the stack is still the one to examine
        target = replace(target, stack=stack)
    return stack.name, await diagnose(target)


def is_healthy(findings: list[Finding]) -> bool:
    """Whether there is no fault."""
    return not any(one.status is Status.FAIL for one in findings)


def body(name: str, findings: list[Finding]) -> dict[str, Any]:
    """The findings as JSON."""
    counts = Counter(one.status for one in findings)
    return {
        "stack": name,
        "ok": is_healthy(findings),
        "counts": {str(status): counts[status] for status in Status},
        "findings": [one.body() for one in findings],
    }


def report(name: str, findings: list[Finding], everything: bool) -> None:
    """Print the findings, faults last, next to the prompt."""
    out: Any = console()
    order = list(Status)
    shown = [one for one in findings if everything or one.status is not Status.OK]
    for one in sorted(shown, key=lambda one: order.index(one.status)):
        mark, style = _STYLES[one.status]
        line = escape(f"{one.subject}: {one.check} {one.message}")
        out.print(f"[{style}]{mark}[/] {line}", soft_wrap=True)
        if one.fix:
            out.print(f"    [dim]fix:[/] {escape(one.fix)}", soft_wrap=True)
    out.print(f"[bold]{escape(name)}[/]: {summary(findings)}", soft_wrap=True)


def summary(findings: list[Finding]) -> str:
    """How many findings of each status, as markup. Faults are named even if there are none."""
    counts = Counter(one.status for one in findings)
    parts = [
        _counted(counts[Status.OK], "passed", "passed"),
        _counted(counts[Status.INFO], "note", "notes"),
        _counted(counts[Status.WARN], "warning", "warnings"),
        _counted(counts[Status.UNKNOWN], "not checked", "not checked"),
        f"[bold]{_counted(counts[Status.FAIL], 'fault', 'faults') or 'no faults'}[/]",
    ]
    checks = _counted(len(findings), "check", "checks") or "no checks"
    return f"{checks}: {', '.join(part for part in parts if part)}"


def _counted(number: int, one: str, several: str) -> str:
    """A number with its noun; empty for zero."""
    return f"{number:,} {one if number == 1 else several}" if number else ""
