"""Our addresses, compared with botocore's in every region of every partition."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
from botocore.config import Config
from botocore.session import Session
from headcount.aws.dynamodb import SERVICE as DYNAMODB
from headcount.aws.json_api import EVENTBRIDGE, SECRETS_MANAGER, SQS
from headcount.aws.services import endpoint_of
from headcount.aws.wire import Endpoint

from tests.template.rendering import Place, rendered


@cache
def session() -> Session:
    return Session()


def places() -> list[Place]:
    """Every region."""
    known: Any = session().get_component("data_loader").load_data("partitions")
    return [
        Place(region, partition["id"], partition["outputs"]["dnsSuffix"])
        for partition in known["partitions"]
        for region in partition["regions"]
        if not region.endswith("-global")
    ]


def botocores(service: str, place: Place, *, fips: bool = False) -> str:
    """Botocore's address of a service."""
    # Our client does not use account-specific addresses either.
    config = Config(use_fips_endpoint=fips, account_id_endpoint_mode="disabled")
    client = session().create_client(
        service,
        region_name=place.region,
        aws_access_key_id="none",
        aws_secret_access_key="none",
        config=config,
    )
    return str(client.meta.endpoint_url)


def environments(place: Place) -> dict[str, Mapping[str, Any]]:
    """Function -> its environment in that region."""
    return {
        name: one["Environment"]["Variables"]
        for name, one in rendered(place=place, only="AWS::Lambda::Function")
        .of_type("AWS::Lambda::Function")
        .items()
    }


PLACES = places()
JSON_APIS = (SQS, EVENTBRIDGE, SECRETS_MANAGER)


def test_all_partitions_are_covered() -> None:
    assert {place.region for place in PLACES} >= {"us-east-1", "eusc-de-east-1", "us-iso-east-1"}
    assert len({place.suffix for place in PLACES}) >= 7
    assert len(PLACES) > 40


@pytest.mark.parametrize("service", [DYNAMODB, *(one.name for one in JSON_APIS)])
@pytest.mark.parametrize("fips", [False, True], ids=["plain", "fips"])
@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.region)
def test_a_services_address_is_botocores(place: Place, service: str, *, fips: bool) -> None:
    environ = {
        **environments(place)["ApiFunction"],
        "AWS_REGION": place.region,
    }  # as Lambda adds it
    if fips:
        environ |= {"AWS_USE_FIPS_ENDPOINT": "true"}
    expected = Endpoint.from_url(botocores(service, place, fips=fips))
    assert endpoint_of(service, environ) == expected


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.region)
def test_the_gateways_address_is_botocores(place: Place) -> None:
    host = re.sub("^https://", "", botocores("apigatewaymanagementapi", place))
    hosts = {
        one["SOCKET_ENDPOINT"]["Fn::Sub"]
        for one in environments(place).values()
        if "SOCKET_ENDPOINT" in one
    }
    assert hosts == {f"https://${{SocketApi}}.{host}/live"}


def test_the_operators_dashboard_is_in_the_partitions_own_console() -> None:
    urls = {
        place: rendered(place=place).outputs["OperatorsDashboardUrl"]["Value"]["Fn::Sub"]
        for place in {one.partition: one for one in PLACES}.values()
    }
    for place, url in urls.items():
        assert url.startswith(f"https://{place.region}.console.")
        assert f"?region={place.region}#dashboards/dashboard/${{OperatorsDashboard}}" in url
    hosts = {place.partition: url.split("/")[2].partition(".")[2] for place, url in urls.items()}
    assert hosts["aws"] == "console.aws.amazon.com"
    assert hosts["aws-cn"] == "console.amazonaws.cn"
    assert hosts["aws-us-gov"] == "console.amazonaws-us-gov.com"
    assert hosts["aws-eusc"] == "console.amazonaws-eusc.eu"
    assert len(set(hosts.values())) == len(hosts)


def texts(value: Any) -> list[str]:
    """Every text in a value."""
    match value:
        case str():
            return [value]
        case dict():
            return [text for one in value.values() for text in texts(one)]
        case list():
            return [text for one in value for text in texts(one)]
    return []


@pytest.mark.parametrize("region", ["cn-north-1", "eusc-de-east-1", "us-iso-east-1"])
def test_no_arn_or_address_belongs_to_another_partition(region: str) -> None:
    """Except service principals, which are the same everywhere."""
    place = next(one for one in PLACES if one.region == region)
    for name, resource in rendered(place=place).resources.items():
        for text in texts(resource["Properties"]):
            if re.fullmatch(r"[a-z-]+[.]amazonaws[.]com", text):
                continue
            assert "amazonaws.com" not in text.replace(place.suffix, ""), (name, text)
            assert set(re.findall(r"arn:(aws[a-z-]*)", text)) <= {place.partition}, (name, text)
