"""A plain handler with Powertools and boto3, as most people would write it.

The baseline of `make bench-beat` and `make bench-cold-start`. It stores the same beat with the
same condition and returns the same fields, with public packages only.
"""

from __future__ import annotations

import os
import time
from typing import Annotated, Any

import boto3
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.openapi.params import Path
from pydantic import BaseModel, Field

logger = Logger(service="naive")
metrics = Metrics(namespace="Naive", service="naive")
tracer = Tracer(service="naive", auto_patch=False)
app = APIGatewayHttpResolver(enable_validation=True)
dynamodb = boto3.client("dynamodb")


class Beat(BaseModel):
    """A beat's body."""

    sessionId: str = Field(min_length=1, max_length=128)  # noqa: N815
    visitorId: str | None = Field(default=None, max_length=128)  # noqa: N815
    page: str | None = Field(default=None, max_length=300)
    seq: int | None = Field(default=None, ge=0)


@app.post("/v1/spaces/<space>/presence")
def beat(space: Annotated[str, Path()], body: Beat) -> dict[str, Any]:
    """Store a beat."""
    now = time.time_ns() // 1_000_000
    dynamodb.update_item(
        TableName=os.environ["PRESENCE_TABLE"],
        Key={"space": {"S": space}, "session": {"S": body.sessionId}},
        ConditionExpression="expires_at > :now AND (attribute_not_exists(seq) OR seq < :seq)",
        UpdateExpression="SET last_seen = :now, expires_at = :expires_at, #ttl = :ttl, seq = :seq",
        ExpressionAttributeNames={"#ttl": "ttl"},
        ExpressionAttributeValues={
            ":now": {"N": str(now)},
            ":expires_at": {"N": str(now + 60_000)},
            ":ttl": {"N": str(now // 1000 + 86_400)},
            ":seq": {"N": str(body.seq or 0)},
        },
    )
    return {"success": True, "space": space, "leaseSeconds": 60, "nextBeatIn": 30}


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Answer one request."""
    return app.resolve(event, context)
