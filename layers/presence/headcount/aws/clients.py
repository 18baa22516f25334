"""The one place that builds AWS clients: boto3's, and this package's own for the hot paths.

Each call builds a client; ``wiring`` keeps one of each per process. boto3 is imported by the first
client that needs it: only alerts, containers and the lake do. Timeouts are seconds.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from botocore.config import Config
    from mypy_boto3_apigatewaymanagementapi import ApiGatewayManagementApiClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_events import EventBridgeClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_secretsmanager import SecretsManagerClient
    from mypy_boto3_sns import SNSClient
    from mypy_boto3_sqs import SQSClient

    from headcount.aws.json_api import JsonApi, Service
    from headcount.aws.signing import Signer

_CONNECT_TIMEOUT = 2
READ_TIMEOUT = 2
"""All tries without an answer must end before a function that answers requests times out."""
SDK_TRIES = 3

_POST_TIMEOUT = 1
"""For a post to a connection, which takes API Gateway milliseconds. The broadcaster retries, and a
slow connection must not take the time of the others."""

_S3_READ_TIMEOUT = 60
"""S3 answers once it has the whole file."""

_ECS_READ_TIMEOUT = 10
"""Starting a task can take seconds."""
_ECS_TRIES = 2
"""A retry carries the same client token, so it starts no second task."""


def sqs(
    *, clock: Callable[[], int], sleep: Callable[[float], None], random: Callable[[], float]
) -> SQSClient:
    """This package's own client of SQS. ``clock`` returns epoch milliseconds; the rest is as for
    ``JsonApi``."""
    from headcount.aws.json_api import SQS

    return cast("SQSClient", _json_api(SQS, clock, sleep, random))


def sns() -> SNSClient:
    """A client of SNS."""
    import boto3

    return boto3.client("sns", config=_config())


def secrets_manager(
    *, clock: Callable[[], int], sleep: Callable[[float], None], random: Callable[[], float]
) -> SecretsManagerClient:
    """This package's own client of Secrets Manager, built as SQS's."""
    from headcount.aws.json_api import SECRETS_MANAGER

    return cast("SecretsManagerClient", _json_api(SECRETS_MANAGER, clock, sleep, random))


def eventbridge(
    *, clock: Callable[[], int], sleep: Callable[[float], None], random: Callable[[], float]
) -> EventBridgeClient:
    """This package's own client of EventBridge, built as SQS's."""
    from headcount.aws.json_api import EVENTBRIDGE

    return cast("EventBridgeClient", _json_api(EVENTBRIDGE, clock, sleep, random))


def ecs() -> ECSClient:
    """A client of ECS."""
    import boto3

    return boto3.client("ecs", config=_config(read_timeout=_ECS_READ_TIMEOUT, tries=_ECS_TRIES))


def s3() -> S3Client:
    """A client of S3, for files of up to some 100 MB."""
    import boto3

    return boto3.client("s3", config=_config(read_timeout=_S3_READ_TIMEOUT))


def dynamodb(
    *,
    clock: Callable[[], int],
    sleep: Callable[[float], None],
    random: Callable[[], float],
    new_id: Callable[[], str],
) -> DynamoDBClient:
    """This package's own client of DynamoDB: it starts faster, and takes less of a beat's CPU.

    ``clock`` returns epoch milliseconds; the rest is as for ``DynamoDB``.
    """
    from headcount.aws.dynamodb import SERVICE, DynamoDB
    from headcount.aws.services import endpoint_of
    from headcount.aws.wire import Pool

    client = DynamoDB(
        Pool(endpoint_of(SERVICE, os.environ), _CONNECT_TIMEOUT, READ_TIMEOUT, clock),
        _signer(SERVICE, clock),
        sleep=sleep,
        random=random,
        new_id=new_id,
    )
    if os.environ.get("TRACING") == "true" and "AWS_XRAY_DAEMON_ADDRESS" in os.environ:
        from headcount.aws.tracing import TRACE, Daemon, trace_calls

        daemon = Daemon(os.environ["AWS_XRAY_DAEMON_ADDRESS"])
        trace_calls(
            client,
            lambda: os.environ.get(TRACE, ""),
            daemon.send,
            clock=clock,
            new_id=new_id,
        )
    return cast("DynamoDBClient", client)


def management(url: str, *, clock: Callable[[], int]) -> ApiGatewayManagementApiClient:
    """This package's own client of the management API of the WebSocket API at ``url``."""
    from headcount.aws.management import SERVICE, Management
    from headcount.aws.wire import Endpoint, Pool

    pool = Pool(Endpoint.from_url(url), _CONNECT_TIMEOUT, _POST_TIMEOUT, clock)
    return cast("ApiGatewayManagementApiClient", Management(pool, _signer(SERVICE, clock)))


def _json_api(
    service: Service,
    clock: Callable[[], int],
    sleep: Callable[[float], None],
    random: Callable[[], float],
) -> JsonApi:
    from headcount.aws.json_api import JsonApi
    from headcount.aws.services import endpoint_of
    from headcount.aws.wire import Pool

    pool = Pool(endpoint_of(service.name, os.environ), _CONNECT_TIMEOUT, READ_TIMEOUT, clock)
    return JsonApi(service, pool, _signer(service.name, clock), sleep=sleep, random=random)


def _config(*, read_timeout: int = READ_TIMEOUT, tries: int = SDK_TRIES) -> Config:
    from botocore.config import Config

    return Config(
        connect_timeout=_CONNECT_TIMEOUT,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": tries},
    )


def _signer(service: str, clock: Callable[[], int]) -> Signer:
    from headcount.aws.services import region_of
    from headcount.aws.signing import Credentials, Signer

    credentials = Credentials.from_environment(os.environ)
    if credentials is None:  # not on Lambda: the SDK's chain of credential providers
        import boto3

        found = boto3.Session().get_credentials()
        if found is None:
            raise RuntimeError("There are no AWS credentials: set AWS_ACCESS_KEY_ID.")
        frozen = found.get_frozen_credentials()
        credentials = Credentials(
            frozen.access_key or "", frozen.secret_key or "", frozen.token or ""
        )
    return Signer(credentials, region_of(os.environ), service, clock)
