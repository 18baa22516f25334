"""`sam build`: for this machine (the local stack), or for AWS (`make build`)."""

import asyncio
import fcntl
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from local.bundle import Bundler
from local.packing import pack, sizes, stamp
from local.processes import run
from local.settings import (
    ARCHITECTURE,
    BUILD_DIR,
    ROOT,
    RUNTIME,
    VENV_BIN,
    Settings,
    UsageError,
    aws_environment,
)

SAM = str(VENV_BIN / "sam")
AWS_RUNTIME = "3.13"  # the template's default
AWS_BUILD_DIR = ROOT / ".aws-sam" / "build"


def sam_environment(settings: Settings) -> dict[str, str]:
    """SAM CLI's environment: the emulator for AWS, the project's tools first on PATH."""
    path = f"{VENV_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return aws_environment(settings) | {
        "PATH": path,
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.2",
    }


def parameter_overrides(**parameters: str) -> list[str]:
    """The template parameters that fit the build to this machine, and any others."""
    fitting = {"Runtime": RUNTIME, "Architecture": ARCHITECTURE} | parameters
    # SAM CLI takes no empty value. They are the template's defaults.
    given = [f"{name}={value}" for name, value in fitting.items() if value]
    return ["--parameter-overrides", *given]


async def build(settings: Settings) -> None:
    """Build for the host's own Python and architecture, into .aws-sam/local."""
    await asyncio.to_thread(Bundler().bundle)
    await run(
        *(SAM, "build", "--template-file", str(ROOT / "template.yaml")),
        *("--build-dir", str(BUILD_DIR), "--cache-dir", str(BUILD_DIR.with_name("local-cache"))),
        *("--config-env", "local", "--cached", "--parallel"),
        *parameter_overrides(),
        env=sam_environment(settings),
        log=settings.home / "build.log",
    )
    await asyncio.to_thread(pack, BUILD_DIR, sys.executable)


@asynccontextmanager
async def build_lock() -> AsyncIterator[None]:
    """Held from build to deploy, so that stacks running side by side don't mix their builds."""
    BUILD_DIR.parent.mkdir(exist_ok=True)
    with BUILD_DIR.with_name("local.lock").open("w") as lock:
        os.set_inheritable(lock.fileno(), True)
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                await asyncio.sleep(0.2)
        yield


def find_python(version: str) -> Path | None:
    """A folder with that Python and its pip: on PATH, from pyenv or from uv."""
    folders = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    folders += sorted((Path.home() / ".pyenv" / "versions").glob(f"{version}*/bin"))
    managed = Path.home() / ".local" / "share" / "uv" / "python"
    folders += sorted(managed.glob(f"cpython-{version}*/bin"))
    for folder in folders:
        python = folder / f"python{version}"
        if python.is_file() and _has_pip(python):
            return folder
    return None


def _has_pip(python: Path) -> bool:
    asked = subprocess.run([python, "-m", "pip", "--version"], check=False, capture_output=True)
    return asked.returncode == 0


def main() -> int:
    """Build as the template says it, ready for `sam deploy`; extra arguments go to SAM CLI."""
    python = find_python(AWS_RUNTIME)
    if python is None:
        print(
            f"The functions run on Python {AWS_RUNTIME}, and there is no python{AWS_RUNTIME} with "
            f"pip here. Get one, for instance with `pyenv install {AWS_RUNTIME}` or "
            f"`uv python install {AWS_RUNTIME}`, or build in a container: "
            "`.venv/bin/sam build --use-container`.",
            file=sys.stderr,
        )
        return 1
    try:
        Bundler().bundle()
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    path = f"{python}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    os.chdir(ROOT)
    environment = {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0"}
    asked = ["--build-dir", str(AWS_BUILD_DIR), *sys.argv[1:]]
    code = subprocess.run([SAM, "build", *asked], check=False, env=environment).returncode
    if code == 0:
        build_dir = Path(asked[len(asked) - asked[::-1].index("--build-dir")])
        pack(build_dir, python / f"python{AWS_RUNTIME}")
        stamp(build_dir)
        for name, size in sizes(build_dir).items():
            print(f"{name:<28}{size / 1e6:8.1f} MB")
    return code


if __name__ == "__main__":
    sys.exit(main())
