"""Whose certificates our AWS clients accept."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import botocore
import pytest
from headcount.aws import wire
from headcount.aws.wire import Connection, Endpoint, aws_tls_context, tls_context

from lab.bench.fanout import certificate

AMAZONS = {
    *(f"Amazon Root CA {number}" for number in range(1, 5)),
    "Starfield Services Root Certificate Authority - G2",
}


def certificates(text: str) -> set[str]:
    """The certificates in PEM files."""
    found = re.findall(r"-----BEGIN CERTIFICATE-----(.*?)-----END", text, re.DOTALL)
    return {"".join(one.split()) for one in found}


def test_the_roots_are_amazons_as_botocore_has_them() -> None:
    ours = Path(wire._ROOTS).read_text()
    theirs = (Path(botocore.__file__).parent / "cacert.pem").read_text()
    labels = re.split(r'# Label: "(.*?)"\n', theirs)[1:]
    by_label = dict(zip(labels[::2], map(certificates, labels[1::2]), strict=True))
    assert certificates(ours) == set().union(*(by_label[name] for name in AMAZONS))


def test_the_other_authorities_are_not_read_for_aws() -> None:
    names = {
        dict(part[0] for part in authority["subject"])["commonName"]
        for authority in aws_tls_context().get_ca_certs()
    }
    assert names == AMAZONS
    assert aws_tls_context().verify_mode is ssl.CERT_REQUIRED
    assert aws_tls_context().minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Endpoint, Path]]:
    """A TLS server on this machine, its authority."""
    authority, key = certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, key)
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with suppress(OSError):  # the client refused
                context.wrap_socket(connection, server_side=True).close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield Endpoint("localhost", listener.getsockname()[1], tls=True), authority
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(wire, "_trust", wire._Trust())
    tls_context.cache_clear()
    yield
    tls_context.cache_clear()


def test_where_an_endpoint_has_another_authority_the_machines_are_asked_once(
    server: tuple[Endpoint, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint, authority = server
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    opened: list[Any] = []
    create = socket.create_connection
    monkeypatch.setattr(
        socket, "create_connection", lambda *given: opened.append(given) or create(*given)
    )
    Connection(endpoint, 5, 5).close()
    assert len(opened) == 2
    Connection(endpoint, 5, 5).close()
    assert len(opened) == 3


def test_a_certificate_that_nobody_vouches_for_is_refused(
    server: tuple[Endpoint, Path],
) -> None:
    endpoint, _ = server
    for _ in range(2):
        with pytest.raises(ssl.SSLCertVerificationError):
            Connection(endpoint, 5, 5)
