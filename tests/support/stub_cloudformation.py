"""A stub of the CloudFormation and S3 calls that `sam deploy` makes before it creates a stack."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import parse_qsl

MANAGED = "aws-sam-cli-managed-default"
"""The stack of SAM CLI's own bucket, which exists already."""
_XMLNS = "http://cloudformation.amazonaws.com/doc/2010-05-15/"
_ID = "arn:aws:cloudformation:us-east-1:123456789012"
_MANAGED_STACK = f"""<Stacks><member>
<StackName>{MANAGED}</StackName><StackId>{_ID}:stack/{MANAGED}/1</StackId>
<CreationTime>2026-11-21T12:00:00Z</CreationTime><StackStatus>CREATE_COMPLETE</StackStatus>
<Tags><member><Key>ManagedStackSource</Key><Value>AwsSamCli</Value></member></Tags>
<Outputs>
<member><OutputKey>SourceBucket</OutputKey><OutputValue>bucket</OutputValue></member>
<member><OutputKey>Version</OutputKey><OutputValue>2</OutputValue></member>
</Outputs></member></Stacks>"""
_KNOWN = {
    "GetCallerIdentity": "<Account>123456789012</Account><Arn>arn:aws:iam::123456789012:root</Arn>",
    "DescribeStackEvents": f"""<StackEvents><member><EventId>1</EventId><StackName>new</StackName>
<StackId>{_ID}:stack/new/1</StackId><Timestamp>2026-11-21T12:00:00Z</Timestamp></member>
</StackEvents>""",
    "DescribeChangeSet": f"""<ChangeSetName>changes</ChangeSetName>
<ChangeSetId>{_ID}:changeSet/c/1</ChangeSetId><StackId>{_ID}:stack/new/1</StackId><Status>CREATE_COMPLETE</Status>
<ExecutionStatus>AVAILABLE</ExecutionStatus><Changes><member><Type>Resource</Type><ResourceChange>
<Action>Add</Action><LogicalResourceId>HttpApi</LogicalResourceId>
<ResourceType>AWS::ApiGatewayV2::Api</ResourceType></ResourceChange></member></Changes>""",
}


@dataclass
class Calls:
    """The calls to CloudFormation, in order."""

    url: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)
    uploads: list[str] = field(default_factory=list)
    """The keys of the objects uploaded to the bucket."""

    def named(self, action: str) -> list[dict[str, str]]:
        """The calls of one operation."""
        return [one for one in self.requests if one["Action"] == action]


@contextmanager
def stub_cloudformation() -> Iterator[Calls]:
    """A server that creates and describes change sets, and refuses to execute them."""
    calls = Calls()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            call = dict(parse_qsl(self._body().decode(), keep_blank_values=True))
            calls.requests.append(call)
            action = call["Action"]
            if action == "DescribeStacks" and call["StackName"] == MANAGED:
                self._answer(200, _result(action, _MANAGED_STACK))
            elif action == "CreateChangeSet":
                made = f"<Id>{_ID}:changeSet/c/1</Id><StackId>{_ID}:stack/new/1</StackId>"
                self._answer(200, _result(action, made))
            elif action in _KNOWN:
                self._answer(200, _result(action, _KNOWN[action]))
            else:
                name = call.get("StackName", "")
                self._answer(400, _refusal(f"Stack with id {name} does not exist"))

        def do_PUT(self) -> None:
            self._body()
            calls.uploads.append(self.path.partition("?")[0].removeprefix("/bucket/"))
            self._answer(200, "", ETag='"0"')

        def do_HEAD(self) -> None:
            self._answer(200 if self.path.strip("/") == "bucket" else 404, "")

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))

        def _answer(self, status: int, text: str, **headers: str) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(text.encode())))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    calls.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield calls
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _result(action: str, inner: str) -> str:
    return (
        f'<{action}Response xmlns="{_XMLNS}"><{action}Result>{inner}</{action}Result>'
        f"<ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></{action}Response>"
    )


def _refusal(message: str) -> str:
    return (
        f'<ErrorResponse xmlns="{_XMLNS}"><Error><Type>Sender</Type><Code>ValidationError</Code>'
        f"<Message>{message}</Message></Error><RequestId>r</RequestId></ErrorResponse>"
    )
