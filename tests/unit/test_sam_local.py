"""`sam local` gets a path to the emulator, and an image if there is no registry."""

from __future__ import annotations

import asyncio
import io
import sys
import tarfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from docker.errors import APIError, ImageNotFound
from yarl import URL

from local import lambda_image, sam_local
from local.settings import RUNTIME, Settings, UsageError
from tests.support.script import answer, scripted

# ------------------------------------------------------------------------------------------ opening


def test_containers_reach_the_emulator_by_a_secret_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sam_local, "bridge_address", lambda: "127.0.0.1")

    async def request_status() -> tuple[list[tuple[int, bytes]], set[str]]:
        settings, answers, urls = Settings(1, script.port, tmp_path), [], set()
        for path in ("", "/_aws/execute-api/a/live/@connections/L0SM9c%3D?x=%20"):
            async with (
                sam_local.container_endpoint(settings) as url,
                aiohttp.ClientSession() as session,
            ):
                urls.add(url)
                outside = url.rpartition("/")[0] + path
                for where in (outside, url + path):
                    async with session.post(URL(where, encoded=True), data=b"asked") as response:
                        answers.append((response.status, await response.read()))
        return answers, urls

    with scripted([answer(200, b"first")], [answer(410, b"gone")]) as script:
        answers, urls = asyncio.run(request_status())
    assert [status for status, _ in answers] == [404, 200, 404, 410]
    assert [body for _, body in answers[1::2]] == [b"first", b"gone"]
    assert len(urls) == 2
    assert all(len(url.rpartition("/")[2]) >= 32 for url in urls)
    first, second = script.requests
    assert first.startswith(b"POST / HTTP/1.1\r\n")
    assert first.endswith(b"asked")
    path = b"/_aws/execute-api/a/live/@connections/L0SM9c%3D?x=%20"
    assert second.startswith(b"POST " + path + b" HTTP/1.1\r\n")


def test_an_emulator_that_is_gone_is_a_502(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sam_local, "bridge_address", lambda: "127.0.0.1")
    with scripted() as script:
        settings = Settings(1, script.port, tmp_path)

    async def request_status() -> int:
        async with (
            sam_local.container_endpoint(settings) as url,
            aiohttp.ClientSession() as session,
            session.post(url) as response,
        ):
            return response.status

    assert asyncio.run(request_status()) == 502


def test_without_a_bridge_docker_desktops_name_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sam_local, "bridge_address", lambda: None)

    async def url() -> str:
        async with sam_local.container_endpoint(Settings(1, 4567, tmp_path)) as url:
            return url

    assert asyncio.run(url()) == "http://host.docker.internal:4567"


def test_a_machine_without_that_interface_has_no_bridge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam_local, "BRIDGE", "no-such-bridge")
    assert sam_local.bridge_address() is None


@pytest.mark.skipif(sys.platform != "linux", reason="Linux names its loopback lo")
def test_the_bridges_address_is_the_interfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam_local, "BRIDGE", "lo")
    assert sam_local.bridge_address() == "127.0.0.1"


# ---------------------------------------------------------------------------------------- the image


class Engine:
    """A fake Docker engine, with or without a registry; it keeps imported images."""

    def __init__(self, *, registry: bool = False, present: bool = False) -> None:
        self.imported: dict[str, tuple[bytes, list[str]]] = {}
        self.images = SimpleNamespace(pull=self._pull, get=self._get)
        self.api = SimpleNamespace(import_image_from_stream=self._import)
        self._registry, self._present = registry, present

    def _pull(self, *name: str) -> None:
        if not self._registry:
            raise APIError(f"{name}: no such host")

    def _get(self, name: str) -> None:
        if not self._present and name not in self.imported:
            raise ImageNotFound(name)

    def _import(
        self, stream: Iterator[bytes], repository: str, tag: str, changes: list[str]
    ) -> None:
        self.imported[f"{repository}:{tag}"] = b"".join(stream), changes


@pytest.fixture
def runtime_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runtime client, without the network."""

    def install(folder: Path) -> None:
        (folder / "awslambdaric").mkdir(parents=True)
        (folder / "awslambdaric" / "__main__.py").touch()

    monkeypatch.setattr(lambda_image, "install_runtime_client", install)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="a stand-in is made of a Linux machine's files")
def test_without_a_registry_a_stand_in_has_the_name_that_sam_looks_for(
    runtime_client: None,
) -> None:
    engine: Any = Engine()
    assert "is a stand-in" in lambda_image.provide(engine)
    ((name, (content, changes)),) = engine.imported.items()
    assert name == f"public.ecr.aws/lambda/python:{lambda_image.TAG}"
    assert 'ENTRYPOINT ["/var/runtime/bootstrap"]' in changes
    with closing(tarfile.open(fileobj=io.BytesIO(content))) as image:
        members = {member.name: member for member in image}
    assert {member.uid for member in members.values()} == {0}
    assert members["var/runtime/bootstrap"].mode & 0o111
    assert members["bin/sh"].mode & 0o111
    assert members["tmp"].mode == 0o1777
    assert {f"var/lang/bin/{RUNTIME}", "var/runtime/awslambdaric/__main__.py"} <= members.keys()
    assert f"var/lang/{sys.platlibdir}/{RUNTIME}/json/__init__.py" in members
    assert any(name.endswith("/libc.so.6") for name in members)
    assert not [name for name in members if "/site-packages/" in name or "/test/" in name]


@pytest.mark.parametrize(
    ("engine", "message"),
    [(Engine(registry=True), "is Amazon's"), (Engine(present=True), "is here already")],
)
def test_an_existing_image_is_used(engine: Any, message: str) -> None:
    assert message in lambda_image.provide(engine)
    assert not engine.imported


def test_only_on_linux_a_stand_in_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with pytest.raises(UsageError, match="Linux"):
        lambda_image.provide(Engine())


def test_a_missing_engine_is_reported_with_the_fix(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    assert lambda_image.main() == 1
    assert "No Docker engine answers" in capsys.readouterr().err
