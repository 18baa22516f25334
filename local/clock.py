"""Run a command on another day: all processes that it starts, and the local stack, see that day.

    python -m local.clock --days 400 -- .venv/bin/python -m pytest tests/unit
    python -m local.clock --at 2028-02-28T23:59:30Z -- .venv/bin/python -m pytest tests/unit

Python and Node processes move their clock when they start; containers and Java keep the machine's.
"""

import argparse
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

MOVED_BY = "CLOCK_MOVED_BY"  # seconds
HOME = Path(__file__).with_name("moved_clock")
DATE = HOME / "date.cjs"


def moved_by() -> float:
    """The seconds by which this process's clock is ahead of the machine's; 0 if it is not moved."""
    return float(os.environ.get(MOVED_BY, "0"))


def environment(seconds: float) -> dict[str, str]:
    """The environment variables that move the clock of a process, and of those that it starts."""
    if not seconds:
        return {}
    return {MOVED_BY: repr(seconds), "PYTHONPATH": str(HOME), "NODE_OPTIONS": f'--require "{DATE}"'}


def page_script() -> str:
    """JavaScript that moves the Date of a browser's page by the same time."""
    return DATE.read_text().replace(f"process.env.{MOVED_BY}", repr(moved_by()))


def _moment(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m local.clock", description=__doc__)
    when = parser.add_mutually_exclusive_group(required=True)
    when.add_argument("--days", type=float, help="days from now")
    when.add_argument("--at", type=_moment, help="start at this time, UTC without an offset")
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    now = datetime.now(UTC)
    start = args.at or now + timedelta(days=args.days)
    print(f"The clock is moved: it is {start:%Y-%m-%d %H:%M:%S} UTC", flush=True)
    os.environ |= environment(moved_by() + (start - now).total_seconds())
    try:
        os.execvp(args.command[0], args.command)
    except OSError as error:
        print(f"{args.command[0]}: {error.strerror}", file=sys.stderr)
        return 127


if __name__ == "__main__":
    sys.exit(main())
