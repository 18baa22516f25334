"""A client of a WebSocket API's management API, with boto3's methods and errors.

It replaces boto3's because a version for a thousand dashboards is a thousand posts, and each takes
a tenth of the CPU this way; `make bench-fanout` shows both.
"""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import quote

from msgspec import Struct

from headcount.aws.services import client_error, connection_error
from headcount.aws.signing import Signer
from headcount.aws.wire import Pool

SERVICE = "execute-api"

_CODES: Mapping[int, str] = {
    HTTPStatus.FORBIDDEN: "ForbiddenException",
    HTTPStatus.GONE: "GoneException",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "PayloadTooLargeException",
    HTTPStatus.TOO_MANY_REQUESTS: "LimitExceededException",
}


class Management(Struct, frozen=True, eq=False):
    """A client of one WebSocket API's stage, for any number of threads, without retries.

    Raises botocore's ``ClientError``, and its ``BotoCoreError`` if no response came.
    """

    pool: Pool
    signer: Signer

    def post_to_connection(self, *, ConnectionId: str, Data: bytes) -> None:  # noqa: N803
        """Send one frame."""
        self._call("POST", ConnectionId, Data, "PostToConnection")

    def delete_connection(self, *, ConnectionId: str) -> None:  # noqa: N803
        """Close a connection."""
        self._call("DELETE", ConnectionId, b"", "DeleteConnection")

    def _call(self, method: str, connection: str, body: bytes, operation: str) -> None:
        endpoint = self.pool.endpoint
        path = f"{endpoint.path}/@connections/{quote(connection, safe='')}"
        headers = self.signer.headers(method, path, body, {"host": endpoint.authority})
        try:
            response = self.pool.request(method, path, headers, body)
        except OSError as error:
            raise connection_error(error, endpoint) from error
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            code = _CODES.get(response.status, "")
            raise client_error(operation, code, response.status)
