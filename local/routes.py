"""Give the emulator's HTTP API the routes that SAM wrote into its OpenAPI body.

AWS imports an HTTP API's `Body`; the emulator creates the API without it. The template stays
plain SAM, and this puts the routes and the CORS settings where the emulator looks for them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headcount_cli.doctor.resources import routes_of

if TYPE_CHECKING:
    from mypy_boto3_apigatewayv2.client import ApiGatewayV2Client

CORS = "x-amazon-apigateway-cors"

Resolve = Callable[[str], str]


@dataclass(frozen=True)
class HttpApi:
    """What an API's body asks for: each route key's function ARN, and CORS if any."""

    routes: dict[str, str]
    cors: dict[str, Any]


def find_body(template: Mapping[str, Any]) -> dict[str, Any]:
    """The OpenAPI body of the processed template's one HTTP API."""
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::ApiGatewayV2::Api" and "Body" in resource["Properties"]:
            body: dict[str, Any] = resource["Properties"]["Body"]
            return body
    raise LookupError("The template has no AWS::Serverless::HttpApi.")


def read_body(body: Mapping[str, Any], function_arn: Resolve) -> HttpApi:
    """Read routes and CORS from an OpenAPI body; `function_arn` maps a logical id to its ARN."""
    routes = {key: function_arn(_function_named_in(uri)) for key, uri in routes_of(body).items()}
    return HttpApi(routes, _cors(body.get(CORS, {})))


def _function_named_in(uri: Any) -> str:
    """The logical id in `arn:...:functions/${ApiFunction.Arn}/invocations`.

    Of two, the latter: the former is an alias that gradual deployments go by, on AWS alone.
    """
    if isinstance(uri, dict) and "Fn::If" in uri:
        uri = uri["Fn::If"][2]
    text = uri.get("Fn::Sub", "") if isinstance(uri, dict) else str(uri)
    _, found, rest = text.partition("/functions/${")
    if not found:
        raise LookupError(f"No function is named in the integration {uri!r}.")
    return str(rest.partition(".Arn")[0])


def _cors(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`allowOrigins` as boto3 calls it: `AllowOrigins`."""
    return {name[0].upper() + name[1:]: value for name, value in settings.items()}


def import_routes(client: "ApiGatewayV2Client", api_id: str, wanted: HttpApi) -> None:
    """Make the API's routes exactly the wanted ones; running it again changes nothing."""
    if wanted.cors:
        client.update_api(ApiId=api_id, CorsConfiguration=wanted.cors)  # type: ignore[arg-type]
    integrations: dict[str, str] = {}
    for integration in _items(client.get_integrations, api_id):
        integrations[integration["IntegrationUri"]] = integration["IntegrationId"]
    for arn in set(wanted.routes.values()) - set(integrations):
        created = client.create_integration(
            ApiId=api_id,
            IntegrationType="AWS_PROXY",
            IntegrationUri=arn,
            PayloadFormatVersion="2.0",
        )
        integrations[arn] = created["IntegrationId"]
    targets = {key: f"integrations/{integrations[arn]}" for key, arn in wanted.routes.items()}
    for route in _items(client.get_routes, api_id):
        if targets.get(route["RouteKey"]) == route.get("Target"):
            del targets[route["RouteKey"]]
        else:
            client.delete_route(ApiId=api_id, RouteId=route["RouteId"])
    for route_key, target in targets.items():
        client.create_route(ApiId=api_id, RouteKey=route_key, Target=target)


def _items(list_page: Callable[..., Any], api_id: str) -> list[dict[str, Any]]:
    """All items of a paged listing."""
    items: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = list_page(ApiId=api_id, MaxResults="100", **token)
        items += page["Items"]
        if not page.get("NextToken"):
            return items
        token = {"NextToken": page["NextToken"]}
