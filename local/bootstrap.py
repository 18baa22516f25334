"""Set up the project's environments: .venv (tools), .local/emulator (the AWS emulator),
.local/policies (what checks policies in tests) and .local/docs (what builds the pages).

    python3 -m local.bootstrap [dev] [emulator] [policies] [docs]

SAM CLI and the emulator pin different versions of botocore, the policy checker needs an old
setuptools, and few need the pages' generator, hence one environment for each. The locks in
local/locks/ list the packages; a stamp in each environment makes a second run do nothing. This
file uses only the standard library, and old Pythons must be able to parse it as far as the message
below.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 - the check is for older versions
    sys.exit(
        f"Headcount needs Python 3.11 or newer, and this is {sys.version.split()[0]}. "
        "Install one and name it, for example `make run PYTHON=python3.13`."
    )

import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "local" / "locks"
STATE = ROOT / ".local"
ENVIRONMENTS = {
    "dev": ROOT / ".venv",
    "emulator": STATE / "emulator",
    "policies": STATE / "policies",
    "docs": STATE / "docs",
}
UV_VERSION = "0.13.8"
UV_HOME = STATE / "uv"


def main(names: list[str]) -> int:
    """Set up the named environments, by default all. Returns 0 if they are ready."""
    unknown = set(names) - set(ENVIRONMENTS)
    if unknown:
        known = ", ".join(ENVIRONMENTS)
        sys.exit(f"There is no environment {unknown.pop()!r}: choose from {known}.")
    if all(is_ready(name) for name in names or ENVIRONMENTS):
        return 0  # without waiting for another that is being set up
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # subprocess.run then ends its child
    STATE.mkdir(exist_ok=True)
    with (STATE / "bootstrap.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        missing = [name for name in names or ENVIRONMENTS if not is_ready(name)]
        if not missing:
            return 0
        started = time.monotonic()
        report(f"setting up {' and '.join(missing)} with Python {sys.version.split()[0]}")
        failures: list[str] = []
        try:
            uv = find_uv()
        except subprocess.CalledProcessError as error:
            sys.exit(error.stderr)
        threads = [
            threading.Thread(target=try_create, args=(name, uv, failures), daemon=True)
            for name in missing
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for failure in failures:
            print(failure, file=sys.stderr)
        if not failures:
            report(f"environments ready ({time.monotonic() - started:.1f} s)")
        return 1 if failures else 0


def is_ready(name: str) -> bool:
    """Whether the environment was made from its current lock, with this Python."""
    stamp = ENVIRONMENTS[name] / "headcount.stamp"
    return stamp.is_file() and stamp.read_text() == fingerprint(name)


def fingerprint(name: str) -> str:
    """A hash of what an environment is made from: its lock, its Python and its path."""
    made_from = f"{sys.version}|{ENVIRONMENTS[name]}|".encode() + lock_file(name).read_bytes()
    return hashlib.sha256(made_from).hexdigest()


def lock_file(name: str) -> Path:
    return LOCKS / f"{name}.txt"


def find_uv() -> Path | None:
    """The pinned uv, installed by pip into its own folder; None if that fails."""
    uv, stamp = UV_HOME / "bin" / "uv", UV_HOME / "headcount.stamp"
    if stamp.is_file() and stamp.read_text() == UV_VERSION:
        return uv
    shutil.rmtree(UV_HOME, ignore_errors=True)
    install = ["-m", "pip", "install", "--quiet", "--no-deps", f"uv=={UV_VERSION}"]
    settings = {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0"}
    if run([sys.executable, *install, "--target", str(UV_HOME)], **settings).returncode:
        # This Python has no pip (Debian packages it separately): use the one of a venv.
        shutil.rmtree(UV_HOME, ignore_errors=True)
        run_checked([sys.executable, "-m", "venv", str(UV_HOME)], advice=VENV_IS_MISSING)
        if run([str(UV_HOME / "bin" / "python"), *install], **settings).returncode:
            return None
    stamp.write_text(UV_VERSION)
    return uv


def try_create(name: str, uv: Path | None, failures: list[str]) -> None:
    try:
        create(name, uv)
    except subprocess.CalledProcessError as error:
        failures.append(f"{error.stderr}\nSetting up {name} failed.")


def create(name: str, uv: Path | None) -> None:
    """Recreate the environment and install its lock, with uv or otherwise with pip."""
    started = time.monotonic()
    home = ENVIRONMENTS[name]
    python = home / "bin" / "python"
    shutil.rmtree(home, ignore_errors=True)
    run_checked([sys.executable, "-m", "venv", "--without-pip", str(home)], advice=VENV_IS_MISSING)
    if not (uv and install_with_uv(uv, python, lock_file(name))):
        ensurepip = [str(python), "-m", "ensurepip", "--default-pip"]
        run_checked(ensurepip, advice=VENV_IS_MISSING)
        pip = [str(python), "-m", "pip", "install", "--quiet", "-r", str(lock_file(name))]
        run_checked(
            pip, advice="pip could not install the lock file: is the package index reachable?"
        )
    if name == "dev":
        install_commands(uv, python)
    (home / "headcount.stamp").write_text(fingerprint(name))
    report(f"{home.relative_to(ROOT)} ready ({time.monotonic() - started:.1f} s)")


def install_commands(uv: Path | None, python: Path) -> None:
    """Install this project's command line, `headcount`, in editable mode."""
    here = ["--no-deps", "--editable", str(ROOT)]
    command = [str(python), "-m", "pip", "install", "--quiet", *here]
    if uv:  # it has the build backend built in, so nothing is downloaded
        command = [str(uv), "pip", "install", "--quiet", "--no-config", "--python", str(python)]
        command += here
    run_checked(command, advice="The command line `headcount` could not be installed.")


def install_with_uv(uv: Path, python: Path, lock: Path) -> bool:
    """Install with uv, from the index that pip is configured to use. False if that fails."""
    indexes = {}
    if os.environ.get("PIP_INDEX_URL"):
        indexes["UV_DEFAULT_INDEX"] = os.environ["PIP_INDEX_URL"]
    if os.environ.get("PIP_EXTRA_INDEX_URL"):
        indexes["UV_INDEX"] = os.environ["PIP_EXTRA_INDEX_URL"]
    command = [str(uv), "pip", "install", "--quiet", "--no-config", "--python", str(python)]
    return run([*command, "-r", str(lock)], **indexes).returncode == 0


VENV_IS_MISSING = (
    "This Python comes without venv or ensurepip. Install them (Debian and Ubuntu: "
    "`apt-get install python3-venv`) or name another Python, for example "
    "`make run PYTHON=python3.13`."
)


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **environment}
    return subprocess.run(command, check=False, env=env, text=True, capture_output=True)


def run_checked(command: list[str], advice: str) -> None:
    done = run(command)
    if done.returncode:
        raise subprocess.CalledProcessError(
            done.returncode, command, stderr=f"{done.stdout}{done.stderr}\n{advice}"
        )


def report(step: str) -> None:
    print(f"  {step}", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
