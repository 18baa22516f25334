"""Where an export goes: plain files whole or not at all; anything else is written through."""

from __future__ import annotations

import os
import stat
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from headcount_cli import files
from headcount_cli.errors import CommandError
from headcount_cli.files import save

from lab.harness.template import ROOT
from lab.harness.world import World
from tests.cli.conftest import Run

SITE = "site:main"


def test_a_pipe_is_written_through_and_stays_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()), daemon=True)
    reader.start()
    save(b"a,b\r\n", str(pipe))
    reader.join(5)
    assert read == [b"a,b\r\n"]
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_is_written_through_and_stays_a_device(tmp_path: Path) -> None:
    device = tmp_path / "null"
    device.symlink_to("/dev/null")  # making one needs the right to
    try:
        os.mknod(own := tmp_path / "own", 0o644 | stat.S_IFCHR, os.makedev(1, 3))
        os.close(os.open(own, os.O_WRONLY))
    except OSError:
        own = device
    for path in (device, own):
        save(b"a,b\r\n", str(path))
        assert stat.S_ISCHR(path.stat().st_mode)
    assert device.is_symlink()


@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_a_link_is_followed_and_stays_a_link(tmp_path: Path, exists: bool, relative: bool) -> None:
    target, link = tmp_path / "folder" / "days.csv", tmp_path / "latest.csv"
    target.parent.mkdir()
    link.symlink_to(Path("folder/days.csv") if relative else target)
    if exists:
        target.write_bytes(b"before")
    save(b"after", str(link))
    assert link.is_symlink()
    assert target.read_bytes() == b"after"
    assert list(target.parent.iterdir()) == [target]


def test_the_mode_of_a_file_stays(tmp_path: Path) -> None:
    file = tmp_path / "days.csv"
    for mode in (0o600, 0o640, 0o666, 0o604):
        file.write_bytes(b"before")
        file.chmod(mode)
        save(b"after", str(file))
        assert (stat.S_IMODE(file.stat().st_mode), file.read_bytes()) == (mode, b"after")


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        save(b"new", str(tmp_path / "days.csv"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "days.csv").stat().st_mode) == 0o640


def test_a_file_with_two_names_stays_one_file(tmp_path: Path) -> None:
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_bytes(b"before, and longer")
    second.hardlink_to(first)
    save(b"after", str(first))
    assert second.read_bytes() == b"after"
    assert second.samefile(first)


def test_a_file_that_can_t_be_replaced_is_written_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder without the right, or with a file that is mounted."""
    file = tmp_path / "days.csv"
    file.write_bytes(b"before, and longer")

    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "_replace", refuse)
    save(b"after", str(file))
    assert file.read_bytes() == b"after"
    with pytest.raises(CommandError, match="Permission denied"):
        save(b"new", str(tmp_path / "new.csv"))


def test_a_full_disk_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "days.csv"
    file.write_bytes(b"before")

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.shutil, "copystat", fail)
    with pytest.raises(CommandError, match="No space left"):
        save(b"after", str(file))
    assert (file.read_bytes(), list(tmp_path.iterdir())) == (b"before", [file])


@pytest.mark.parametrize("name", ["folder", "missing/days.csv", "loop", ""])
def test_what_can_t_be_written_is_a_sentence(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CommandError, match="can't be written"):
        save(b"", name)
    assert {path.name for path in tmp_path.iterdir()} == {"folder", "loop"}


@pytest.mark.parametrize("name", ["-", "stdout", "/proc/self/fd/1"])
def test_standard_output_can_be_named(tmp_path: Path, name: str) -> None:
    """Into a file that already has something: opening it again would cut that off."""
    script = (
        "import sys; from headcount_cli.files import save, STDOUT; from headcount_cli.export import"
        " write; write([{'a': 1}], 'json', None if sys.argv[1] == STDOUT else sys.argv[1])"
    )
    file, link = tmp_path / "log", tmp_path / "stdout"
    file.write_text("before\n")
    link.symlink_to("/proc/self/fd/1")  # as /dev/stdout, which no test should risk
    with file.open("a") as log:
        run = [str(ROOT / ".venv" / "bin" / "python"), "-c", script, name]
        subprocess.run(run, check=True, stdout=log, cwd=tmp_path)
    assert file.read_text().split() == ["before", "[", "{", '"a":', "1", "}", "]"]
    assert link.is_symlink()
    assert {path.name for path in tmp_path.iterdir()} == {"log", "stdout"}


def test_a_dash_is_standard_output(
    here: World, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here.beat("tab-1")
    done = run("export", SITE, "--viewers", "--format", "json", "-o", "-")
    assert (done.exit_code, done.stderr) == (0, "")
    assert '"tab-1"' in done.stdout
    assert list(tmp_path.iterdir()) == []
