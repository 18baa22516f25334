"""Python imports this first in every process that `local.clock` starts, and it moves the clock.

It moves the date, but not the monotonic clocks of timers. A Python without time-machine, which does
not belong to the project, keeps its clock.
"""

import os
import sys
import time
from contextlib import suppress


def move(seconds: float) -> None:
    """Move this process's clock ahead by this many seconds."""
    # time-machine would import these for features that are unused here, but a function must import
    # those of its layers, not of the emulator.
    unwanted = {name: None for name in ("dateutil", "pytest") if name not in sys.modules}
    sys.modules.update(unwanted)  # type: ignore[arg-type] # None: there is no such module
    try:
        import time_machine
    finally:
        for name in unwanted:
            del sys.modules[name]
    time_machine.travel(time.time() + seconds).start()
    time.time()  # it goes on from its first reading


if __name__ == "sitecustomize":
    with suppress(ModuleNotFoundError):
        move(float(os.environ["CLOCK_MOVED_BY"]))
