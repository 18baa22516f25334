"""`make sam-local-image`: the image that `sam local` runs the functions in.

SAM CLI downloads Amazon's image. Where no container registry can be reached, this makes a stand-in
with the same name from this machine's Python, C library and shell, and Amazon's runtime client from
PyPI. To either image, SAM CLI adds the layers and its emulator of the runtime interface.
"""

import io
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import IO

import docker
from docker.errors import APIError, ImageNotFound

from local.settings import ARCHITECTURE, ROOT, RUNTIME, UsageError

REPOSITORY = "public.ecr.aws/lambda/python"
TAG = f"{RUNTIME.removeprefix('python')}-{ARCHITECTURE}"
RUNTIME_CLIENT = ROOT / "local" / "locks" / "lambda_image.txt"
TOOLS = ("sh", "cat", "chmod", "cp", "env", "ls", "mkdir", "mv", "rm")
"""Commands in the image; SAM CLI calls some of them to add the layers."""
LIBRARIES = (
    *("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "libresolv.so.2", "librt.so.1"),
    *("libutil.so.1", "libnss_dns.so.2", "libnss_files.so.2", "libgcc_s.so.1", "libstdc++.so.6"),
)
"""Libraries that packages in a layer may link to, even if Python does not."""
LEFT_OUT = re.compile(
    r"/(site-packages|dist-packages|test|idlelib|tkinter|turtledemo|ensurepip|lib2to3|config-[^/]*"
    r"|_test[^/]*\.so|_tkinter[^/]*|[^/]*\.opt-[12]\.pyc|[^/]*\.a)$"
)
"""The parts of the standard library that no function uses."""
AUTHORITIES = Path("/etc/ssl/certs/ca-certificates.crt")

START = f"""\
#!/bin/sh
export AWS_EXECUTION_ENV=AWS_Lambda_{RUNTIME}
exec $AWS_LAMBDA_EXEC_WRAPPER /var/lang/bin/{RUNTIME} /var/runtime/bootstrap.py
"""
BOOTSTRAP = f"""\
import os
import site
import sys

# The function's folder and the layers come before this one, as on Lambda.
folders = [os.environ["LAMBDA_TASK_ROOT"]]
if "PYTHONPATH" not in os.environ:
    folders += ["/opt/python/lib/{RUNTIME}/site-packages", "/opt/python"]
sys.path[:0] = folders
for folder in folders:
    site.addsitedir(folder)

from awslambdaric.__main__ import main

main([sys.argv[0], os.environ["_HANDLER"]])
"""
CONFIGURATION = [
    "WORKDIR /var/task",
    'ENTRYPOINT ["/var/runtime/bootstrap"]',
    "ENV LANG=C.UTF-8 TZ=:UTC LAMBDA_TASK_ROOT=/var/task LAMBDA_RUNTIME_DIR=/var/runtime",
    "ENV PATH=/var/lang/bin:/usr/local/bin:/usr/bin:/bin:/opt/bin",
    "ENV LD_LIBRARY_PATH=/var/lang/lib:/lib64:/usr/lib64:/var/runtime:/var/task/lib:/opt/lib",
    f"ENV SSL_CERT_FILE={AUTHORITIES}",
]


def engine() -> docker.DockerClient:
    """The Docker engine, which SAM CLI will use, too. Raises UsageError if there is none."""
    # In a separate process, because without an engine the library leaves its socket open.
    command = [sys.executable, "-c", "import docker; docker.from_env().ping()"]
    ping = subprocess.run(command, check=False, capture_output=True, text=True)
    if ping.returncode:
        raise UsageError(
            "No Docker engine answers: install one (on Debian `apt-get install docker.io`), "
            "start it, and make sure that your user may use it.\n"
            f"{ping.stderr.strip().rpartition(chr(10))[2]}"
        )
    return docker.from_env()


def provide(client: docker.DockerClient) -> str:
    """Provide the image for this machine's Python and processor. Returns a sentence about it."""
    name = f"{REPOSITORY}:{TAG}"
    try:
        client.images.pull(REPOSITORY, TAG)
        return f"{name} is Amazon's."
    except APIError:
        pass  # its registry can't be reached
    try:
        client.images.get(name)
        return f"{name} is here already."
    except ImageNotFound:
        pass
    with tempfile.TemporaryFile() as archive:
        pack(archive)
        archive.seek(0)
        chunks = iter(lambda: archive.read(1_048_576), b"")
        client.api.import_image_from_stream(chunks, REPOSITORY, TAG, changes=CONFIGURATION)
    client.images.get(name)
    return f"{name} is a stand-in, made of this machine's Python {sys.version.split()[0]}."


def pack(archive: IO[bytes]) -> None:
    """Write the stand-in's files as a tar archive. Raises UsageError if this is not Linux."""
    if sys.platform != "linux" or not shutil.which("ldd"):
        raise UsageError(
            f"The registry of {REPOSITORY} can't be reached, and a stand-in can only be made from "
            "a Linux machine's files."
        )
    library = Path(sysconfig.get_path("stdlib"))
    python = Path(sys._base_executable).resolve()  # type: ignore[attr-defined]
    with (
        tempfile.TemporaryDirectory() as scratch,
        tarfile.open(fileobj=archive, mode="w") as image,
    ):
        runtime = Path(scratch, "runtime")
        install_runtime_client(runtime)
        tools = {Path("/bin", name): Path(shutil.which(name) or f"/bin/{name}") for name in TOOLS}
        programs = [python, *tools.values(), *library.glob("lib-dynload/*.so")]
        linked = libraries_of([*programs, *runtime.rglob("*.so")])
        system = next(path.parent for path in linked if path.name == "libc.so.6")
        linked |= {path for name in LIBRARIES if (path := system / name).exists()}
        for path in sorted(linked):
            add(image, path, Path("/var/lang/lib", path.name) if is_own(path) else path)
        for place, path in tools.items():
            add(image, path, place)
        add(image, python, Path("/var/lang/bin", RUNTIME))
        add(image, library, Path("/var/lang", sys.platlibdir, RUNTIME))
        add(image, runtime, Path("/var/runtime"))
        if AUTHORITIES.exists():
            add(image, AUTHORITIES, AUTHORITIES)
        add_text(image, "var/runtime/bootstrap", START, 0o755)
        add_text(image, "var/runtime/bootstrap.py", BOOTSTRAP)
        add_text(image, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        add_text(image, "etc/nsswitch.conf", "hosts: files dns\n")
        add_folder(image, "tmp", 0o1777)
        add_folder(image, "var/task")


def install_runtime_client(folder: Path) -> None:
    """Install the locked runtime client, which calls the handler, into a folder."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    arguments = ["--only-binary=:all:", "--target", str(folder), "-r", str(RUNTIME_CLIENT)]
    done = subprocess.run([*pip, *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise UsageError(f"The runtime client could not be installed:\n{done.stderr}")


def libraries_of(files: Iterable[Path]) -> set[Path]:
    """The shared libraries that these files link to, as paths."""
    listed = subprocess.run(["ldd", *files], check=False, capture_output=True, text=True).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", listed)}


def is_own(library: Path) -> bool:
    """Whether a library belongs to a Python that is not the system's."""
    return sys.base_prefix != "/usr" and library.is_relative_to(sys.base_prefix)


def add(image: tarfile.TarFile, path: Path, place: Path) -> None:
    """Add a file or a whole folder, owned by root, with links resolved."""
    image.add(path.resolve(), str(place), filter=_kept)


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    member.uid = member.gid = 0
    member.uname = member.gname = "root"
    return None if LEFT_OUT.search(f"/{member.name}") else member


def add_text(image: tarfile.TarFile, place: str, text: str, mode: int = 0o644) -> None:
    """Add a file with this text."""
    content = text.encode()
    member = tarfile.TarInfo(place)
    member.size, member.mode = len(content), mode
    image.addfile(member, io.BytesIO(content))


def add_folder(image: tarfile.TarFile, place: str, mode: int = 0o755) -> None:
    """Add an empty folder."""
    member = tarfile.TarInfo(place)
    member.type, member.mode = tarfile.DIRTYPE, mode
    image.addfile(member)


def main() -> int:
    try:
        with closing(engine()) as client:
            print(provide(client))
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
