"""`sam build`, for this machine (the local stack) or for AWS (`make build`)."""

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
_USE_CONTAINER = "--use-container"
_IN_CONTAINER = {_USE_CONTAINER, "-u"}
"""Options with which SAM CLI builds in a container and needs no Python of this machine."""


def sam_environment(settings: Settings) -> dict[str, str]:
    """SAM CLI's environment: the emulator for AWS, the project's tools first on PATH."""
    path = f"{VENV_BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    return aws_environment(settings) | {
        "PATH": path,
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.2",
    }


def parameter_overrides(**parameters: str) -> list[str]:
    """Options of SAM CLI with these template parameters, and those of this machine."""
    values = {"Runtime": RUNTIME, "Architecture": ARCHITECTURE} | parameters
    # SAM CLI rejects empty values, which are the template's defaults anyway.
    given = [f"{name}={value}" for name, value in values.items() if value]
    return ["--parameter-overrides", *given]


async def build(settings: Settings) -> None:
    """Build for this machine's Python and architecture, into .aws-sam/local."""
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
    """A lock to hold from build to deploy, so that parallel stacks don't mix their builds."""
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
    """The folder of this version of Python with pip, on PATH or installed by pyenv or uv."""
    folders = [Path(folder) for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)]
    pyenv = _folder("PYENV_ROOT", Path.home() / ".pyenv")
    data = _folder("XDG_DATA_HOME", Path.home() / ".local" / "share")
    managed = _folder("UV_PYTHON_INSTALL_DIR", data / "uv" / "python")
    folders += sorted((pyenv / "versions").glob(f"{version}*/bin"))
    folders += sorted(managed.glob(f"cpython-{version}*/bin"))
    for folder in folders:
        python = folder / f"python{version}"
        if python.is_file() and _has_pip(python):
            return folder
    return None


def _folder(variable: str, default: Path) -> Path:
    return Path(os.environ.get(variable) or default)


def _has_pip(python: Path) -> bool:
    pip = subprocess.run([python, "-m", "pip", "--version"], check=False, capture_output=True)
    return pip.returncode == 0


def main() -> int:
    """Build with the template's defaults, for `sam deploy`. Extra arguments go to SAM CLI."""
    python = find_python(AWS_RUNTIME)
    if python is None and not _IN_CONTAINER & {*sys.argv[1:]}:
        print(
            f"The functions run on Python {AWS_RUNTIME}, and there is no python{AWS_RUNTIME} with "
            f"pip here. Install one, for example with `pyenv install {AWS_RUNTIME}` or "
            f"`uv python install {AWS_RUNTIME}`, or build in a container, with a Docker engine: "
            f"`make build ARGS={_USE_CONTAINER}`.",
            file=sys.stderr,
        )
        return 1
    try:
        Bundler().bundle()
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    path = os.environ.get("PATH", os.defpath)
    if python is not None:
        path = f"{python}{os.pathsep}{path}"
    os.chdir(ROOT)
    environment = {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0"}
    options = ["--build-dir", str(AWS_BUILD_DIR), *sys.argv[1:]]
    code = subprocess.run([SAM, "build", *options], check=False, env=environment).returncode
    if code == 0:
        build_dir = Path(options[len(options) - options[::-1].index("--build-dir")])
        pack(build_dir, python and python / f"python{AWS_RUNTIME}")
        if python is None:
            print(
                f"This build has no bytecode, which needs Python {AWS_RUNTIME} here: functions "
                "start a little later when they are new.",
                file=sys.stderr,
            )
        stamp(build_dir)
        for name, size in sizes(build_dir).items():
            print(f"{name:<28}{size / 1e6:8.1f} MB")
    return code


if __name__ == "__main__":
    sys.exit(main())
