"""A DynamoDB that accepts every write and stores nothing, so that only the caller is measured."""

from __future__ import annotations

import asyncio
import zlib

_BODY = b"{}"
_ANSWER = (
    b"HTTP/1.1 200 OK\r\n"
    b"Server: Server\r\n"
    b"Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n"
    b"Content-Type: application/x-amz-json-1.0\r\n"
    b"Content-Length: %d\r\n"
    b"Connection: keep-alive\r\n"
    b"x-amzn-RequestId: VVC8GU0GSK6KSLCJU8LP8IBM8RVV4KQNSO5AEMVJF66Q9ASUAAJG\r\n"
    b"x-amz-crc32: %d\r\n\r\n%s" % (len(_BODY), zlib.crc32(_BODY), _BODY)
)


class Stub(asyncio.Protocol):
    """A connection; every request must have a Content-Length."""

    def __init__(self) -> None:
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport of a new connection."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every complete request."""
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end]
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            if len(self._data) < end + 4 + length:
                return
            self._data = self._data[end + 4 + length :]
            self.answer(head)

    def answer(self, head: bytes) -> None:  # noqa: ARG002 - all requests get the same answer
        """Answer a request, given its line and headers."""
        self.transport.write(_ANSWER)


async def main() -> None:
    """Listen until ended."""
    server = await asyncio.get_running_loop().create_server(Stub, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
