"""A management API over TLS that accepts every post after 10 ms, in a separate process.

Connections named ``gone-...`` are answered 410, ``slow-...`` never. Arguments: certificate and key.
For each line on stdin it prints, about the posts since the previous line: how many were accepted,
the seconds from the first post to the last accepted one, and the posts of the busiest second.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
import time
from bisect import bisect_left

from stub_dynamodb import Stub  # in the same folder: this file is run as a script

DELAY = 0.01
_HEADERS = (
    b"Content-Type: application/json\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
    b"x-amzn-RequestId: 2f1f2f1d-6e5b-4f3c-9a50-0d8f9a7f7d11\r\n"
    b"x-amz-apigw-id: VVC8GU0GSK6KSLC=\r\n"
    b"Connection: keep-alive\r\n"
)
_ACCEPTED = b"HTTP/1.1 200 OK\r\n" + _HEADERS + b"Content-Length: 0\r\n\r\n"
_GONE = b"HTTP/1.1 410 Gone\r\n" + _HEADERS + b"Content-Length: 2\r\n\r\n{}"


_received_at: list[float] = []
_accepted_at: list[float] = []


class Gateway(Stub):
    """A connection of a poster."""

    def answer(self, head: bytes) -> None:
        """Answer a post after the delay."""
        _received_at.append(time.perf_counter())
        name = head.split(b" ", 2)[1].rpartition(b"/")[2]
        if name.startswith(b"slow-"):
            return
        answer = _GONE if name.startswith(b"gone-") else _ACCEPTED
        asyncio.get_running_loop().call_later(DELAY, self._write, answer)

    def _write(self, answer: bytes) -> None:
        if answer is _ACCEPTED:
            _accepted_at.append(time.perf_counter())
        self.transport.write(answer)


def report() -> None:
    """Print the figures since the last report."""
    if not sys.stdin.readline():
        asyncio.get_running_loop().remove_reader(sys.stdin)
        return
    in_a_second = (
        bisect_left(_received_at, at + 1) - index for index, at in enumerate(_received_at)
    )
    busiest = max(in_a_second, default=0)
    seconds = _accepted_at[-1] - _received_at[0] if _accepted_at else 0.0
    print(len(_accepted_at), seconds, busiest, flush=True)
    _received_at.clear()
    _accepted_at.clear()


async def main(certificate: str, key: str) -> None:
    """Listen until ended."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.get_running_loop().create_server(
        Gateway, "127.0.0.1", 0, ssl=context, backlog=1024
    )
    print(f"https://localhost:{server.sockets[0].getsockname()[1]}/live", flush=True)
    asyncio.get_running_loop().add_reader(sys.stdin, report)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
