"""The deployed HTTP API's routes are the only way in."""

from __future__ import annotations

import pytest

from lab.harness.clients import Api, path_of
from tests.stack.conftest import Stack

pytestmark = pytest.mark.stack


def test_without_its_routes_the_gateway_answers_404(stack: Stack, api: Api, space: str) -> None:
    client = stack.client("apigatewayv2")
    api_id = stack.outputs["httpApi"].split("/")[0]
    routes = {route["RouteKey"]: route for route in client.get_routes(ApiId=api_id)["Items"]}
    ours = [routes[key] for key in ("$default", "POST /v1/spaces/{space}/presence")]
    assert api.request("GET", path_of(space)).status == 200

    for route in ours:
        client.delete_route(ApiId=api_id, RouteId=route["RouteId"])
    try:
        read = api.request("GET", path_of(space))
        wrote = api.request("POST", f"{path_of(space)}/presence", body={"sessionId": "s1"})
        dashboard = api.request("GET", "/dashboard")
    finally:
        for route in ours:
            client.create_route(ApiId=api_id, RouteKey=route["RouteKey"], Target=route["Target"])

    assert (read.status, wrote.status) == (404, 404)
    assert "success" not in read.body  # the gateway's own words, not ours
    assert dashboard.status == 200  # it has its own route
    assert api.request("GET", path_of(space)).status == 200
