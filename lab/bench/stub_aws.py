"""An AWS that accepts every call and stores nothing: for functions' first events.

Tables are empty, messages and events are accepted, and there is one secret.
"""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

from lab.bench.stub_dynamodb import Stub

_ANSWERS: dict[str, Any] = {
    "Query": {"Items": [], "Count": 0, "ScannedCount": 0},
    "Scan": {"Items": [], "Count": 0, "ScannedCount": 0},
    "BatchGetItem": {"Responses": {}, "UnprocessedKeys": {}},
    "BatchWriteItem": {"UnprocessedItems": {}},
    "UpdateItem": {"Attributes": {"number": {"N": "1"}}},
    "SendMessage": {"MessageId": "message-1"},
    "PutEvents": {"FailedEntryCount": 0, "Entries": [{"EventId": "event-1"}]},
    "GetSecretValue": {"SecretString": "s" * 40},
}


class Aws(Stub):
    """A connection to any service that speaks JSON, or to the WebSocket API's management."""

    def answer(self, head: bytes) -> None:
        """Answer a request, given its line and headers."""
        target = re.search(rb"x-amz-target: \w+\.(\w+)", head, re.IGNORECASE)
        body = json.dumps(_ANSWERS.get(target[1].decode(), {}) if target else {}).encode()
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n%s"
            % (len(body), body)
        )


async def main() -> None:
    """Listen until ended."""
    server = await asyncio.get_running_loop().create_server(Aws, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    print(f"http://{host}:{port}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
