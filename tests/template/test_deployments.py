"""template.yaml's parameters, domains, gradual deployments and outputs."""

from __future__ import annotations

import re

import pytest
from headcount_cli.app import app
from typer.testing import CliRunner

from local.routes import find_body, read_body
from tests.support.template import ROOT, template, translated

T = template()
INTERFACE = T.document["Metadata"]["AWS::CloudFormation::Interface"]
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b"
DOMAINS = {
    "DomainName": "live.example.com",
    "SocketDomainName": "sockets.example.com",
    "CertificateArn": CERTIFICATE,
}


def there(**parameters: str) -> set[str]:
    """The logical ids of the resources that are made with these parameters."""
    translated_conditions = {
        name: resource.get("Condition") for name, resource in translated()["Resources"].items()
    }
    return {
        name
        for name, condition in translated_conditions.items()
        if condition is None or holds(condition, **parameters)
    }


def holds(condition: str, **parameters: str) -> bool:
    return bool(T.resolve({"Fn::If": [condition, True, False]}, **parameters))


def refused(**parameters: str) -> list[str]:
    """What the template's rules say about these parameters."""
    said = []
    for rule in T.document["Rules"].values():
        if T.holds(rule["RuleCondition"], **parameters):
            said += [
                one["AssertDescription"]
                for one in rule["Assertions"]
                if not T.holds(one["Assert"], **parameters)
            ]
    return said


# --------------------------------------------------------------------------------------- parameters


def test_every_parameter_stands_in_one_group_and_has_a_label() -> None:
    grouped = [name for group in INTERFACE["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(T.parameters)
    assert sorted(INTERFACE["ParameterLabels"]) == sorted(T.parameters)
    labels = [label["default"] for label in INTERFACE["ParameterLabels"].values()]
    assert len(set(labels)) == len(labels)
    assert all(re.match(r"[A-Z].{2,60}[^.]$", label) for label in labels)


@pytest.mark.parametrize("name", sorted(T.parameters))
def test_a_default_is_one_that_the_parameter_takes(name: str) -> None:
    parameter = T.parameters[name]
    default = parameter["Default"]
    assert len(parameter["Description"]) <= 4000
    if "AllowedPattern" in parameter:
        assert re.fullmatch(parameter["AllowedPattern"], default)
        assert parameter["ConstraintDescription"].strip()
    if "AllowedValues" in parameter:
        assert default in parameter["AllowedValues"]
    if parameter["Type"] == "Number":
        assert parameter.get("MinValue", default) <= default <= parameter.get("MaxValue", default)
        assert "MinValue" in parameter or "AllowedValues" in parameter


def test_what_is_off_or_on_says_true_or_false() -> None:
    for name, parameter in T.parameters.items():
        if parameter["Default"] in {"true", "false"}:
            assert parameter["AllowedValues"] == ["true", "false"], name


@pytest.mark.parametrize(
    ("parameter", "fits", "does_not"),
    [
        ("DomainName", ["", "live.example.com"], ["https://live.example.com", "live", "*.a.com"]),
        ("SocketDomainName", ["", "s.example.co"], ["wss://s.example.co", "S.example.co", "a..b"]),
        ("CertificateArn", ["", CERTIFICATE], ["arn:aws:iam::123456789012:server-certificate/a"]),
        ("HostedZoneId", ["", "Z0123456789ABCDEFGHIJ"], ["/hostedzone/Z012", "example.com"]),
        ("Release", ["1", "v1.2.3", "2026-11-21"], ["", "two words", "a/b"]),
        (
            "AlarmTopic",
            ["", "arn:aws:sns:eu-west-1:123456789012:alarms"],
            ["alarms", "arn:aws:sns:eu-west-1:123456789012:alarms:0a1b"],
        ),
    ],
)
def test_a_parameter_that_has_a_form_is_held_to_it(
    parameter: str, fits: list[str], does_not: list[str]
) -> None:
    pattern = T.parameters[parameter]["AllowedPattern"]
    assert all(re.search(pattern, one) for one in fits)
    assert not any(re.search(pattern, one) for one in does_not)


def test_samconfig_names_parameters_that_there_are() -> None:
    import tomllib

    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    said = config["prod"]["deploy"]["parameters"]["parameter_overrides"]
    given = dict(one.split("=") for one in said.split())
    assert given.keys() <= T.parameters.keys()
    assert given["ProtectTables"] == given["PointInTimeRecovery"] == "true"
    for name, value in given.items():
        assert value in map(str, T.parameters[name].get("AllowedValues", [value]))


# ------------------------------------------------------------------------------------------ domains

OF_DOMAINS = {
    "HttpDomain",
    "HttpDomainMapping",
    "HttpDomainRecord",
    "SocketDomain",
    "SocketDomainMapping",
    "SocketDomainRecord",
    "EdgeRecord",
}


@pytest.mark.parametrize(
    ("parameters", "made"),
    [
        ({}, set()),
        (
            DOMAINS,
            {"HttpDomain", "HttpDomainMapping", "SocketDomain", "SocketDomainMapping"},
        ),
        (DOMAINS | {"HostedZoneId": "Z1"}, OF_DOMAINS - {"EdgeRecord"}),
        (
            DOMAINS | {"SocketDomainName": "", "HostedZoneId": "Z1"},
            {"HttpDomain", "HttpDomainMapping", "HttpDomainRecord"},
        ),
        (DOMAINS | {"SocketDomainName": "", "Edge": "true"}, set()),
        (DOMAINS | {"SocketDomainName": "", "Edge": "true", "HostedZoneId": "Z1"}, {"EdgeRecord"}),
        ({"DomainName": "live.example.com"}, set()),
    ],
    ids=["none", "both", "with a zone", "http alone", "edge", "edge and a zone", "no certificate"],
)
def test_domains_are_made_as_asked(parameters: dict[str, str], made: set[str]) -> None:
    assert there(**parameters) & OF_DOMAINS == made
    assert refused(**parameters) == (
        ["A domain needs a CertificateArn."]
        if parameters and "CertificateArn" not in parameters
        else []
    )


@pytest.mark.parametrize(
    ("parameters", "says"),
    [
        (DOMAINS | {"Edge": "true"}, "Leave SocketDomainName empty"),
        (DOMAINS | {"SocketDomainName": "live.example.com"}, "a domain of their own"),
        ({"SocketDomainName": "sockets.example.com"}, "needs a CertificateArn"),
    ],
)
def test_what_can_not_be_deployed_is_refused_before_anything_is_made(
    parameters: dict[str, str], says: str
) -> None:
    (said,) = refused(**parameters)
    assert says in said


def test_a_domain_leads_to_the_api_it_is_named_for() -> None:
    resolved = {name: T.resolve(T.resources[name]["Properties"], **DOMAINS) for name in OF_DOMAINS}
    assert resolved["HttpDomainMapping"] == {
        "ApiId": "HttpApi",
        "DomainName": "HttpDomain",
        "Stage": "HttpApi.Stage",
    }
    assert resolved["SocketDomainMapping"] == {
        "ApiId": "SocketApi",
        "DomainName": "SocketDomain",
        "Stage": "SocketStage",
    }
    for name in ("Http", "Socket"):
        (configuration,) = resolved[f"{name}Domain"]["DomainNameConfigurations"]
        assert configuration == {
            "CertificateArn": CERTIFICATE,
            "EndpointType": "REGIONAL",
            "SecurityPolicy": "TLS_1_2",
        }
        target = resolved[f"{name}DomainRecord"]["AliasTarget"]
        assert target["DNSName"] == f"{name}Domain.RegionalDomainName"


def test_the_edge_takes_the_domain_and_speaks_no_old_tls_there() -> None:
    edge = T.resources["EdgeDistribution"]["Properties"]["DistributionConfig"]
    plain, named = T.resolve(edge, Edge="true"), T.resolve(edge, Edge="true", **DOMAINS)
    assert not {"Aliases", "ViewerCertificate"} & plain.keys()
    assert named["Aliases"] == ["live.example.com"]
    assert named["ViewerCertificate"] == {
        "AcmCertificateArn": CERTIFICATE,
        "MinimumProtocolVersion": "TLSv1.2_2021",
        "SslSupportMethod": "sni-only",
    }
    records = T.resolve(T.resources["EdgeRecord"]["Properties"], **DOMAINS)["RecordSets"]
    assert {(one["Name"], one["Type"]) for one in records} == {
        ("live.example.com", "A"),
        ("live.example.com", "AAAA"),
    }


def test_dashboards_are_told_the_domain_of_the_sockets() -> None:
    assert T.environment("site", **DOMAINS)["SOCKET_URL"] == "wss://sockets.example.com"
    assert T.environment("site", **DOMAINS, SocketUrl="/ws")["SOCKET_URL"] == "/ws"
    assert T.environment("site")["SOCKET_URL"].endswith(".amazonaws.com/live")
    # Posts to connections go to the API itself, whatever its dashboards call it.
    assert "SocketApi" in T.environment("publish", **DOMAINS)["SOCKET_ENDPOINT"]


# -------------------------------------------------------------------------------------- deployments

GRADUAL = {"Deployment": "Canary10Percent5Minutes"}
BY_DEPLOYMENT = {
    *("ApiVersion", "ApiAlias", "ApiDeployment"),
    *("SocketVersion", "SocketAlias", "SocketDeployment"),
    *("DeploymentApplication", "DeploymentRole"),
}


def callers(**parameters: str) -> dict[str, str]:
    """What calls the two functions that are deployed bit by bit, and by which name."""
    resources = translated()["Resources"]
    paths = resources["HttpApi"]["Properties"]["Body"]["paths"]
    route = paths["$default"]["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
    integration = T.resources["SocketIntegration"]["Properties"]["IntegrationUri"]
    said = {
        "http": T.resolve(route["uri"], **parameters).split("/functions/")[1],
        "socket": T.resolve(integration, **parameters).split("/functions/")[1],
    }
    for name in (
        "ApiFunctionEverythingPermission",
        "ApiAliasPermission",
        "SocketPermission",
        "SocketAliasPermission",
    ):
        if name in there(**parameters):
            said[name] = T.resolve(T.resources[name]["Properties"]["FunctionName"], **parameters)
    return said


def test_without_gradual_deployments_nothing_of_them_is_there() -> None:
    assert T.parameters["Deployment"]["Default"] == "AllAtOnce"
    assert there() & BY_DEPLOYMENT == set()
    assert callers() == {
        "http": "ApiFunction.Arn/invocations",
        "socket": "SocketFunction.Arn/invocations",
        "ApiFunctionEverythingPermission": "ApiFunction",
        "SocketPermission": "SocketFunction",
    }
    for function in T.functions:
        assert "RELEASE" not in T.environment(function)


def test_with_them_whoever_calls_goes_by_the_alias() -> None:
    assert there(**GRADUAL) & BY_DEPLOYMENT == BY_DEPLOYMENT
    assert callers(**GRADUAL) == {
        "http": "ApiAlias/invocations",
        "socket": "SocketAlias/invocations",
        # Whatever is called before the update, or after it is taken back, may be.
        "ApiFunctionEverythingPermission": "ApiFunction",
        "ApiAliasPermission": "ApiAlias",
        "SocketPermission": "SocketFunction",
        "SocketAliasPermission": "SocketAlias",
    }
    targets = {
        T.resolve(one["Properties"]["Target"], **GRADUAL)
        for one in T.resources.values()
        if one["Type"] == "AWS::ApiGatewayV2::Route"
    }
    assert targets == {"integrations/SocketIntegration"}  # the only way to the function


def test_the_local_stack_calls_the_function_itself() -> None:
    routes = read_body(find_body(translated()), str).routes
    assert routes["$default"] == "ApiFunction"
    assert routes["GET /dashboard"] == "SiteFunction"
    assert routes["ANY /api/containers/{proxy+}"] == "ContainersFunction"


def test_every_way_of_codedeploys_is_one_that_codedeploy_has() -> None:
    ways = set(T.parameters["Deployment"]["AllowedValues"])
    # Those of CodeDeploy's predefined configurations for Lambda, by way of SAM's own list.
    from samtranslator.model.preferences import deployment_preference_collection as known

    assert ways == set(known.CODEDEPLOY_PREDEFINED_CONFIGURATIONS_LIST)
    group = T.resolve(T.resources["ApiDeployment"]["Properties"], **GRADUAL)
    assert group["DeploymentConfigName"] == "CodeDeployDefault.LambdaCanary10Percent5Minutes"


@pytest.mark.parametrize(("name", "alarm"), [("Api", "ApiErrors"), ("Socket", "SocketErrors")])
def test_an_alarm_undoes_a_deployment(name: str, alarm: str) -> None:
    alias = T.resources[f"{name}Alias"]
    assert T.resolve(alias["UpdatePolicy"], **GRADUAL) == {
        "CodeDeployLambdaAliasUpdate": {
            "ApplicationName": "DeploymentApplication",
            "DeploymentGroupName": f"{name}Deployment",
        }
    }
    group = T.resolve(T.resources[f"{name}Deployment"]["Properties"], **GRADUAL)
    watched = {one["Name"] for one in group["AlarmConfiguration"]["Alarms"]}
    called = T.resolve(T.resources[f"{alarm}Alarm"]["Properties"]).get("AlarmName", f"{alarm}Alarm")
    assert group["AlarmConfiguration"]["Enabled"] is True
    assert called in watched
    assert "DEPLOYMENT_STOP_ON_ALARM" in group["AutoRollbackConfiguration"]["Events"]
    assert group["AutoRollbackConfiguration"]["Enabled"] is True
    assert group["DeploymentStyle"]["DeploymentOption"] == "WITH_TRAFFIC_CONTROL"


@pytest.mark.parametrize(("name", "function"), [("Api", "api"), ("Socket", "socket")])
def test_another_build_or_another_release_is_another_version(name: str, function: str) -> None:
    version = T.resources[f"{name}Version"]["Properties"]
    said = T.resolve(version, **GRADUAL, Release="7")["Description"]
    assert said == "7 unbuilt"  # `make build` writes what it built in place of this
    # Lambda refuses a version of a function that has not changed: the same word is in the function.
    assert T.environment(function, **GRADUAL, Release="7")["RELEASE"] == said


def test_codedeploy_may_move_the_two_aliases_and_see_alarms() -> None:
    statements = T.resolve(list(T.statements("DeploymentRole")), **GRADUAL)
    granted = {
        (action, resource)
        for statement in statements
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    functions = {resource for action, resource in granted if action.startswith("lambda:")}
    assert functions == {
        f"{name}Function.Arn{version}" for name in ("Api", "Socket") for version in ("", ":*")
    }
    assert {action for action, _ in granted} == {
        "lambda:GetAlias",
        "lambda:UpdateAlias",
        "lambda:GetProvisionedConcurrencyConfig",
        "cloudwatch:DescribeAlarms",
    }


# ------------------------------------------------------------------------------------------ outputs


def output(name: str, **parameters: str) -> str:
    return str(T.resolve(T.outputs[name]["Value"], **parameters))


def test_the_outputs_say_the_next_step() -> None:
    first, *_ = T.outputs
    assert first == "NextStep"
    command = ".venv/bin/headcount token --stack headcount --region us-east-1"
    assert output("NextStep") == command
    by_keys = {"JwksUrl": "https://issuer.example.test/jwks.json", "AdminClaim": "role=boss"}
    assert output("NextStep", **by_keys) == (
        "Get a token from your issuer whose claims have role=boss"
    )


def test_the_command_of_the_next_step_is_one_that_there_is() -> None:
    _, *arguments = output("NextStep").split()
    # What it does not know is refused before help is given.
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--zone", "--help"]).exit_code == 2


def test_the_addresses_are_those_of_the_domains_where_there_are_any() -> None:
    assert output("HttpUrl") == "https://HttpApi.execute-api.us-east-1.amazonaws.com"
    assert output("HttpUrl", **DOMAINS) == "https://live.example.com"
    assert output("DashboardUrl", **DOMAINS) == "https://live.example.com/dashboard"
    assert output("WebSocketUrl", **DOMAINS) == "wss://sockets.example.com"
    edge = DOMAINS | {"SocketDomainName": "", "Edge": "true"}
    assert output("EdgeUrl", **edge) == "https://live.example.com"
    assert output("EdgeWebSocketUrl", **edge) == "wss://live.example.com/ws"
    # What is in front of the API has the domain, the API itself does not.
    assert output("HttpUrl", **edge) == output("HttpUrl")


def test_whoever_makes_the_records_is_told_where_they_lead() -> None:
    for name, condition in (
        ("HttpDomainTarget", "HasHttpDomain"),
        ("SocketDomainTarget", "HasSocketDomain"),
        ("EdgeDomainTarget", "HasEdgeDomain"),
    ):
        assert T.outputs[name]["Condition"] == condition
        assert "DomainName" in T.outputs[name]["Description"]
