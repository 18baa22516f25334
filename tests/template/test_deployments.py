"""template.yaml's parameters, domains, gradual deployments and outputs."""

from __future__ import annotations

import re

import pytest
from headcount.settings import Settings
from headcount_cli.app import app
from headcount_cli.doctor.resources import routes_of
from typer.testing import CliRunner

from lab.harness.template import EMULATED, ROOT, template, translated
from tests.template.rendering import rendered

T = template()
INTERFACE = T.document["Metadata"]["AWS::CloudFormation::Interface"]
CERTIFICATE = "arn:aws:acm:eu-west-1:123456789012:certificate/0a1b"
DOMAINS = {
    "DomainName": "live.example.com",
    "SocketDomainName": "sockets.example.com",
    "CertificateArn": CERTIFICATE,
}


TOPIC = "arn:aws:sns:eu-west-1:123456789012:alerts"


def there(**parameters: str) -> set[str]:
    """The logical ids of the resources that these parameters create."""
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
    """The messages of the template's rules that reject these parameters."""
    messages = []
    for rule in T.document["Rules"].values():
        if T.holds(rule["RuleCondition"], **parameters):
            messages += [
                one["AssertDescription"]
                for one in rule["Assertions"]
                if not T.holds(one["Assert"], **parameters)
            ]
    return messages


# --------------------------------------------------------------------------------------- parameters


def test_every_parameter_is_in_one_group_and_has_a_label() -> None:
    grouped = [name for group in INTERFACE["ParameterGroups"] for name in group["Parameters"]]
    assert sorted(grouped) == sorted(T.parameters)
    assert sorted(INTERFACE["ParameterLabels"]) == sorted(T.parameters)
    labels = [label["default"] for label in INTERFACE["ParameterLabels"].values()]
    assert len(set(labels)) == len(labels)
    assert all(re.match(r"[A-Z].{2,60}[^.]$", label) for label in labels)


@pytest.mark.parametrize("name", sorted(T.parameters))
def test_a_default_is_valid(name: str) -> None:
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


def test_a_switch_is_true_or_false() -> None:
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
        (
            "Deployment",
            ["AllAtOnce", "Linear10PercentEvery10Minutes", "Canary10Percent5Minutes:v1.2"],
            ["", "Canary", "Canary10Percent7Minutes", "AllAtOnce:two words", "AllAtOnce:"],
        ),
        (
            "AlarmTopic",
            ["", "arn:aws:sns:eu-west-1:123456789012:alarms"],
            ["alarms", "arn:aws:sns:eu-west-1:123456789012:alarms:0a1b"],
        ),
    ],
)
def test_a_parameter_with_a_pattern_accepts_only_matches(
    parameter: str, fits: list[str], does_not: list[str]
) -> None:
    pattern = T.parameters[parameter]["AllowedPattern"]
    assert all(re.search(pattern, one) for one in fits)
    assert not any(re.search(pattern, one) for one in does_not)


FEW = 29
"""No one reads a longer list; rarely used settings are grouped in three of them."""


def test_there_are_few_parameters() -> None:
    assert len(T.parameters) <= FEW
    assert not [name for name, one in T.parameters.items() if "Default" not in one]


ROLE = "arn:aws:iam::123456789012:role/service/task+a=b@c"


@pytest.mark.parametrize(
    ("parameter", "fits", "does_not"),
    [
        (
            "Limits",
            [
                "requests-per-second=5000",
                "requests-burst=1250,requests-per-second=1000,day-rows-days=8",
                "beats-per-session=0,inline-fanout=0,sweeps-per-minute=6,timeline-days=1",
                "socket-messages-per-second=1,socket-messages-burst=1,beats-per-session=1000",
            ],
            [
                *("requests=1", "requests-per-second", "requests-per-second=", "5000"),
                *("requests-per-second=0", "requests-burst=-1", "timeline-days=0"),
                *("day-rows-days=7", "day-rows-days=0", "sweeps-per-minute=7"),
                *("beats-per-session=1001", "inline-fanout=many", "inline-fanout=1.5"),
                *("inline-fanout=1,", ",inline-fanout=1", "inline-fanout=1,,timeline-days=2"),
                *("inline-fanout=1 timeline-days=2", "inline-fanout=1, timeline-days=2"),
                "inline-fanout=1,timeline-days=2,inline-fanout=3",
            ],
        ),
        (
            "Settings",
            [
                "token-cookie=__Secure-session.token",
                "admin-claim=role=Site Admin,scope-claim=https://example.com/scopes",
                "scope-claim=,dashboard=false,own-address=closed,beat-url=on,people=off",
                "budget=25,dashboard=false",
                "alert-topic=arn:aws:sns:eu-west-1:123456789012:alerts",
                "sign-in-client=dashboard,admin-claim=cognito:groups=admins,sign-in-token=id",
                "sign-in-scopes=openid+offline_access,sign-in-audience=resource",
                "webhook-secret=arn:aws:secretsmanager:eu-west-1:123456789012:secret:hook-AbCdEf",
                "lake=my-bucket.example,dashboard=true",
                "lake=my-bucket/headcount/prod",
            ],
            [
                *("token-cookie=", "token-cookie=a b", "token-cookie=a;b", "admin-claim="),
                *(
                    "beat-url=yes",
                    *("budget=", "budget=0", "budget=2.5", "budget=$25", "budget=25000000"),
                    "sign-in-client=",
                    "sign-in-client=a b",
                    'sign-in-client=a"b',
                    "sign-in-token=refresh",
                    "sign-in-audience=yes",
                    "people=true",
                    "dashboard=yes",
                    "dashboard=",
                    "dashboard=true,scope-claim=a,dashboard=false",
                ),
                *(
                    "alert-topic=alerts",
                    "webhook-secret=a secret that is written here",
                    # IAM compares the whole ARN: a partial ARN allows nothing.
                    "webhook-secret=arn:aws:secretsmanager:eu-west-1:123456789012:secret:hooks",
                ),
                *("cookie=a", "dashboard=true,", "admin-claim=a=b,", "scope-claim=a b"),
                *("lake=", "lake=My-Bucket", "lake=a", "lake=my-bucket/", "lake=s3://my-bucket"),
                *("lake=my-bucket/*", "lake=my-bucket/a//b", "lake=-bucket/a"),
            ],
        ),
        (
            "Containers",
            [
                "cluster=live",
                "task-definition=encoder:7,cluster=live,subnets=subnet-0a1b+subnet-0c2d",
                "cluster=live,security-groups=sg-1,public-ip=true,launch-type=",
                f"cluster=a,container-name=main,launch-type=EC2,task-role={ROLE},execution-role={ROLE}",
            ],
            [
                *("live", "cluster=", "task-definition=encoder", "cluster=arn:aws:ecs:x:1:c/live"),
                *("cluster=a,subnets=subnet-1 subnet-2", "cluster=a,subnets=10.0.0.0"),
                *("cluster=a,launch-type=SPOT", "cluster=a,task-role=task", "cluster=a,cluster=b"),
                *("cluster=a,task-definition=encoder:0", "cluster=a,public-ip=yes", "cluster=a,"),
            ],
        ),
    ],
)
def test_an_unknown_setting_is_refused_before_anything_is_created(
    parameter: str, fits: list[str], does_not: list[str]
) -> None:
    assert [one for one in ["", *fits] if not T.takes(parameter, one)] == []
    assert [one for one in does_not if T.takes(parameter, one)] == []
    # The refusal lists all settings.
    description = T.parameters[parameter]["ConstraintDescription"]
    words = re.findall(
        r"(?<![a-z-])([a-z]+(?:-[a-z]+)+|cluster|subnets|dashboard)=", " ".join(fits)
    )
    assert words
    assert [word for word in words if word not in description] == []


def test_settings_are_found_in_any_order_and_the_others_have_defaults() -> None:
    first, last = "requests-burst=5,timeline-days=2", "timeline-days=2,requests-burst=5"
    settings = T.resources["HttpApi"]["Properties"]["DefaultRouteSettings"]
    for limits in (first, last):
        assert T.resolve(settings, Limits=limits) == {
            "ThrottlingRateLimit": "2000",
            "ThrottlingBurstLimit": "5",
        }
    claim = f"alert-topic={TOPIC},admin-claim=a=b,dashboard=false"
    assert T.holds({"Condition": "HasAlertTopic"}, Settings=claim)
    assert not T.holds({"Condition": "HasDashboard"}, Settings=claim)
    assert not T.holds({"Condition": "HasTokenCookie"}, Settings=claim)
    assert T.environment("deferred", Settings=claim)["ALERT_TOPIC"] == TOPIC


def test_the_page_has_the_default_of_every_setting() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    defaults: dict[str, str] = {}
    for what, default in re.findall(r"^\| (?:`\w+`)? ?\| (`[a-z-]+`.*?) \| (.*?) \|$", page, re.M):
        named = re.findall(r"`([a-z]+(?:-[a-z]+)*)`", what.partition(":")[0])
        defaults |= dict(zip(named, default.split(", "), strict=True))
    settings = Settings(T.environment("api") | T.environment("publish") | T.environment("cleanup"))
    client = {"Settings": "sign-in-client=x", "TokenAudience": "here"}
    sign_in = Settings(T.environment("site", **client)).sign_in
    assert sign_in is not None
    nights = Settings(T.environment("daily"))
    http, socket = (
        T.resolve(T.resources[stage]["Properties"]["DefaultRouteSettings"])
        for stage in ("HttpApi", "SocketStage")
    )
    assert defaults == {
        "requests-per-second": http["ThrottlingRateLimit"],
        "requests-burst": http["ThrottlingBurstLimit"],
        "socket-messages-per-second": socket["ThrottlingRateLimit"],
        "socket-messages-burst": socket["ThrottlingBurstLimit"],
        "beats-per-session": str(settings.beats_per_session),
        "joins-per-source": str(settings.joins_per_source),
        "spaces-per-kind": str(settings.spaces_per_kind),
        "inline-fanout": str(settings.inline_fanout),
        "pushes-per-hour": str(settings.push_budget.per_hour),
        "push-burst": str(settings.push_budget.burst),
        "sweeps-per-minute": str(settings.sweeps_per_minute),
        "beat-concurrency": "reserved"
        if T.holds({"Condition": "HasBeatConcurrency"})
        else "shared",
        "timeline-days": str(settings.timeline_days),
        "day-rows-days": str(settings.day_rows_days),
        "token-cookie": settings.token_cookie or "none",
        "admin-claim": settings.tokens.admin_claim,
        "scope-claim": settings.tokens.scope_claim,
        "alert-topic": T.environment("deferred")["ALERT_TOPIC"] or "none",
        "webhook-secret": "the stack makes one",
        "dashboard": str(T.holds({"Condition": "HasDashboard"})).lower(),
        "avatar-hosts": "+".join(settings.avatar_hosts) or "the page's own",
        "lake": nights.lake or "none",
        "own-address": "closed" if T.holds({"Condition": "HasClosedAddress"}) else "open",
        "sign-in-client": "none" if Settings(T.environment("site")).sign_in is None else "one",
        "sign-in-scopes": sign_in.scopes,
        "sign-in-token": sign_in.token,
        "sign-in-audience": "none" if sign_in.audience is None else sign_in.audience[0],
        "beat-url": "on" if T.holds({"Condition": "HasBeatUrl"}) else "off",
        "budget": "some" if T.holds({"Condition": "HasBudget"}) else "none",
        "people": "on" if T.holds({"Condition": "HasPeople"}) else "off",
    }
    # The template's own description, shown in the console, has the same defaults.
    for name, default in defaults.items():
        if default[0].isdigit():
            assert f"{name}={default}" in T.parameters["Limits"]["Description"]


def test_samconfig_names_only_existing_parameters() -> None:
    import tomllib

    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    overrides = config["prod"]["deploy"]["parameters"]["parameter_overrides"]
    given = dict(one.split("=") for one in overrides.split())
    assert given.keys() <= T.parameters.keys()
    assert given["ProtectTables"] == given["PointInTimeRecovery"] == "true"
    for name, value in given.items():
        assert value in map(str, T.parameters[name].get("AllowedValues", [value]))


def test_sam_delete_of_one_stack_removes_no_other_stacks_artifacts() -> None:
    import tomllib

    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    deploys = [one["deploy"]["parameters"] for one in config.values() if isinstance(one, dict)]
    assert len(deploys) == 3
    assert all(one["s3_prefix"] == one["stack_name"] for one in deploys)
    assert len({one["s3_prefix"] for one in deploys}) == len(deploys)


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
        (
            DOMAINS | {"SocketDomainName": "", "Edge": "true", "HostedZoneId": "Z1"},
            {"HttpDomainRecord", "EdgeRecord"},
        ),
        ({"DomainName": "live.example.com"}, set()),
    ],
    ids=["none", "both", "with a zone", "http alone", "edge", "edge and a zone", "no certificate"],
)
def test_the_requested_domains_are_created(parameters: dict[str, str], made: set[str]) -> None:
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
        (DOMAINS | {"SocketDomainName": "live.example.com"}, "a separate domain"),
        ({"SocketDomainName": "sockets.example.com"}, "needs a CertificateArn"),
    ],
)
def test_an_impossible_deployment_is_refused_before_anything_is_created(
    parameters: dict[str, str], says: str
) -> None:
    (message,) = refused(**parameters)
    assert says in message


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


def test_the_edge_has_the_domain_and_allows_no_old_tls() -> None:
    edge = T.resources["EdgeDistribution"]["Properties"]["DistributionConfig"]
    plain, named = T.resolve(edge, Edge="true"), T.resolve(edge, Edge="true", **DOMAINS)
    assert not {"Aliases", "ViewerCertificate"} & plain.keys()
    assert named["Aliases"] == ["live.example.com"]
    assert named["ViewerCertificate"] == {
        "AcmCertificateArn": CERTIFICATE,
        "MinimumProtocolVersion": "TLSv1.2_2021",
        "SslSupportMethod": "sni-only",
    }
    edge_alone = {**DOMAINS, "SocketDomainName": "", "Edge": "true"}
    (ipv6,) = T.resolve(T.resources["EdgeRecord"]["Properties"], **edge_alone)["RecordSets"]
    ipv4 = T.resolve(T.resources["HttpDomainRecord"]["Properties"], **edge_alone)
    assert (ipv4["Name"], ipv4["Type"]) == ("live.example.com", "A")
    assert (ipv6["Name"], ipv6["Type"]) == ("live.example.com", "AAAA")
    assert ipv4["AliasTarget"] == ipv6["AliasTarget"]
    assert ipv4["AliasTarget"]["DNSName"] == "EdgeDistribution.DomainName"


def test_the_edges_record_is_deleted_before_another_gets_its_name() -> None:
    """In release 1.0 the edge had both of its records in one resource."""
    waits = T.resources["HttpDomainRecord"]["Metadata"]["WaitsFor"]
    assert T.resolve(waits, Edge="true") == "EdgeRecord"
    assert T.resolve(waits) == ""


def closes(**parameters: str) -> bool:
    body = rendered(**parameters).resources["HttpApi"]["Properties"]["Body"]
    (server,) = body["servers"]
    return bool(server["x-amazon-apigateway-endpoint-configuration"]["disableExecuteApiEndpoint"])


def test_the_apis_own_address_can_be_closed_where_nothing_needs_it() -> None:
    assert not closes()
    assert not closes(**DOMAINS)
    assert not closes(Settings="own-address=closed")  # it has no other address
    assert not closes(
        **{**DOMAINS, "SocketDomainName": ""}, Edge="true", Settings="own-address=closed"
    )
    assert closes(**DOMAINS, Settings="own-address=closed")
    closed = rendered(**DOMAINS, Settings="own-address=closed")
    assert "${HttpApi}.execute-api" not in str(closed.document())
    # The edge uses that address, and the functions post to the sockets' own.
    assert "${HttpApi}.execute-api" in str(rendered(Edge="true").resources["EdgeDistribution"])
    assert "DisableExecuteApiEndpoint" not in T.resources["SocketApi"]["Properties"]


@pytest.mark.parametrize("deployment", ["AllAtOnce", "Canary10Percent5Minutes"])
def test_beats_have_a_function_url_where_it_is_wanted(deployment: str) -> None:
    def found(**parameters: str) -> set[str]:
        resources = rendered(Deployment=deployment, **parameters).resources
        return {name for name in resources if name.startswith("BeatUrl")}

    every = {"BeatUrl", "BeatUrlPermission", "BeatUrlInvokePermission"}
    assert found() == found(Settings="beat-url=off") == set()
    assert found(Settings="beat-url=on", Edge="true") == set(), "it would lose the countries"
    assert found(Settings="beat-url=on") == every
    resources = rendered(Deployment=deployment, Settings="beat-url=on").resources
    actions = {resources[name]["Properties"]["Action"] for name in every - {"BeatUrl"}}
    assert actions == {"lambda:InvokeFunctionUrl", "lambda:InvokeFunction"}
    names = {str(resources[name]["Properties"]["FunctionName"]) for name in every - {"BeatUrl"}}
    (name,) = names
    assert ("BeatAlias" in name) == (deployment != "AllAtOnce")
    variables = resources["HttpApiApiGatewayDefaultStage"]["Properties"]["StageVariables"]
    assert variables == {"beatUrl": {"Fn::GetAtt": ["BeatUrl", "FunctionUrl"]}}


def test_dashboards_get_the_domain_of_the_sockets() -> None:
    assert T.environment("site", **DOMAINS)["SOCKET_URL"] == "wss://sockets.example.com"
    assert T.environment("site", **DOMAINS, **EMULATED)["SOCKET_URL"] == "/ws"
    assert T.environment("site")["SOCKET_URL"].endswith(".amazonaws.com/live")
    # Posts to connections go to the API itself, not to its domain.
    assert "SocketApi" in T.environment("publish", **DOMAINS)["SOCKET_ENDPOINT"]


# -------------------------------------------------------------------------------------- deployments

GRADUAL = {"Deployment": "Canary10Percent5Minutes"}
BY_DEPLOYMENT = {
    *("ApiVersion", "ApiAlias", "ApiDeployment"),
    *("SocketVersion", "SocketAlias", "SocketDeployment"),
    *("DeploymentApplication", "DeploymentRole"),
}


def callers(**parameters: str) -> dict[str, str]:
    """Caller of the two functions with gradual deployments -> the name it calls."""
    resources = translated()["Resources"]
    paths = resources["HttpApi"]["Properties"]["Body"]["paths"]
    route = paths["$default"]["x-amazon-apigateway-any-method"]["x-amazon-apigateway-integration"]
    integration = T.resources["SocketIntegration"]["Properties"]["IntegrationUri"]
    callers = {
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
            callers[name] = T.resolve(T.resources[name]["Properties"]["FunctionName"], **parameters)
    return callers


def test_without_gradual_deployments_none_of_their_resources_exist() -> None:
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


@pytest.mark.slow
def test_with_gradual_deployments_every_caller_uses_the_alias() -> None:
    assert there(**GRADUAL) & BY_DEPLOYMENT == BY_DEPLOYMENT
    assert callers(**GRADUAL) == {
        "http": "ApiAlias/invocations",
        "socket": "SocketAlias/invocations",
        # The functions stay callable before the update and after a rollback.
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


def routes(**parameters: str) -> dict[str, str]:
    """Route key -> the function or alias it calls."""
    found = routes_of(translated()["Resources"]["HttpApi"]["Properties"]["Body"])
    return {
        key: T.resolve(uri, **parameters).partition("/functions/")[2].removesuffix("/invocations")
        for key, uri in found.items()
    }


def test_every_route_calls_its_function() -> None:
    site = (
        *(
            "/",
            "/dashboard",
            "/dashboard/{file}",
            "/admin/live",
            "/headcount.js",
            "/headcount.d.ts",
        ),
        *("/headcount-elements.js", "/headcount-elements.d.ts", "/headcount-live.js"),
        *("/headcount-react.js", "/headcount-react.d.ts", "/headcount-live.tgz"),
    )
    assert routes() == {
        "$default": "ApiFunction.Arn",
        "POST /v1/spaces/{space}/presence": "BeatFunction.Arn",
        "DELETE /v1/spaces/{space}/presence": "BeatFunction.Arn",
        "POST /v1/spaces/{space}/presence/leave": "BeatFunction.Arn",
        "ANY /api/containers/{proxy+}": "ContainersFunction.Arn",
        **{f"ANY {path}": "SiteFunction.Arn" for path in site},
    }


def test_the_api_may_call_every_function_that_it_has_a_route_to() -> None:
    """SAM would add a permission per route, and ask for each whether to allow public access."""
    permitted: dict[str, list[str]] = {}
    for one in translated()["Resources"].values():
        if one["Type"] == "AWS::Lambda::Permission" and "${HttpApi}" in str(one):
            permission = T.resolve(one["Properties"])
            assert (permission["Action"], permission["Principal"]) == (
                "lambda:InvokeFunction",
                "apigateway.amazonaws.com",
            )
            permitted.setdefault(permission["FunctionName"], []).append(
                permission["SourceArn"].partition(":HttpApi")[2]
            )
    assert permitted == {
        "ApiFunction": ["/*/*"],
        "SiteFunction": ["/*/*"],
        "ContainersFunction": ["/*/*/api/containers/*"],
    }


def test_no_function_has_a_route_that_sam_cli_asks_about() -> None:
    kinds = {
        event["Type"] for one in T.functions.values() for event in one.get("Events", {}).values()
    }
    assert not kinds & {"Api", "HttpApi"}


def test_every_deployment_type_exists_in_codedeploy() -> None:
    # CodeDeploy's predefined configurations for Lambda, from SAM's own list.
    from samtranslator.model.preferences import deployment_preference_collection as known

    for way in known.CODEDEPLOY_PREDEFINED_CONFIGURATIONS_LIST:
        assert T.takes("Deployment", way)
        group = T.resolve(T.resources["ApiDeployment"]["Properties"], Deployment=f"{way}:2")
        assert group["DeploymentConfigName"] == f"CodeDeployDefault.Lambda{way}"
    pattern = T.parameters["Deployment"]["AllowedPattern"]
    assert len(known.CODEDEPLOY_PREDEFINED_CONFIGURATIONS_LIST) == 1 + 4 + 4, pattern


@pytest.mark.parametrize(
    ("name", "alarm"), [("Beat", "ApiErrors"), ("Api", "ApiErrors"), ("Socket", "SocketErrors")]
)
def test_an_alarm_rolls_a_deployment_back(name: str, alarm: str) -> None:
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


@pytest.mark.parametrize(
    ("name", "function"), [("Beat", "beat"), ("Api", "api"), ("Socket", "socket")]
)
def test_a_new_build_or_release_is_a_new_version(name: str, function: str) -> None:
    version = T.resources[f"{name}Version"]["Properties"]
    again = {"Deployment": "Canary10Percent5Minutes:7"}
    description = T.resolve(version, **again)["Description"]
    # `make build` replaces the last word with the build's digest.
    assert (
        description
        == "Canary10Percent5Minutes:7 unbuilt"
        != T.resolve(version, **GRADUAL)["Description"]
    )
    # Lambda refuses a version of an unchanged function, so the function has the same word.
    assert T.environment(function, **again)["RELEASE"] == description


def test_codedeploy_may_update_the_aliases_and_read_alarms() -> None:
    statements = T.resolve(list(T.statements("DeploymentRole")), **GRADUAL)
    granted = {
        (action, resource)
        for statement in statements
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    functions = {resource for action, resource in granted if action.startswith("lambda:")}
    assert functions == {
        f"{name}Function.Arn{version}"
        for name in ("Beat", "Api", "Socket")
        for version in ("", ":*")
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
    by_keys = {
        "JwksUrl": "https://issuer.example.test/jwks.json",
        "Settings": "token-cookie=hc,admin-claim=role=boss",
    }
    assert output("NextStep", **by_keys) == (
        "Get a token from your issuer whose claims have role=boss"
    )


def test_the_outputs_have_the_line_for_pages() -> None:
    (tag,) = re.findall(
        r"<script[^>]*headcount.js[^>]*></script>", (ROOT / "README.md").read_text()
    )
    own = "https://HttpApi.execute-api.us-east-1.amazonaws.com"
    assert output("Embed") == tag.replace("https://YOUR-HTTP-URL", own)
    for parameters, origin in [
        (DOMAINS, "https://live.example.com"),
        ({"Edge": "true"}, "https://EdgeDistribution.DomainName"),
        (
            {"Edge": "true", "DomainName": "a.example.com", "CertificateArn": CERTIFICATE},
            "https://a.example.com",
        ),
    ]:
        assert output("Embed", **parameters) == tag.replace("https://YOUR-HTTP-URL", origin)


def test_the_command_of_the_next_step_exists() -> None:
    _, *arguments = output("NextStep").split()
    # An unknown command is refused before help is shown.
    assert CliRunner().invoke(app, [*arguments, "--help"]).exit_code == 0
    assert CliRunner().invoke(app, [*arguments, "--zone", "--help"]).exit_code == 2


def test_the_addresses_have_the_domains_if_there_are_any() -> None:
    assert output("HttpUrl") == "https://HttpApi.execute-api.us-east-1.amazonaws.com"
    assert output("HttpUrl", **DOMAINS) == "https://live.example.com"
    assert output("DashboardUrl", **DOMAINS) == "https://live.example.com/dashboard"
    assert output("WebSocketUrl", **DOMAINS) == "wss://sockets.example.com"
    edge = DOMAINS | {"SocketDomainName": "", "Edge": "true"}
    assert output("EdgeUrl", **edge) == "https://live.example.com"
    assert output("EdgeWebSocketUrl", **edge) == "wss://live.example.com/ws"
    # The edge has the domain, the API itself does not.
    assert output("HttpUrl", **edge) == output("HttpUrl")


def test_the_outputs_say_where_dns_records_must_point() -> None:
    for name, condition in (
        ("HttpDomainTarget", "HasHttpDomain"),
        ("SocketDomainTarget", "HasSocketDomain"),
        ("EdgeDomainTarget", "HasEdgeDomain"),
    ):
        assert T.outputs[name]["Condition"] == condition
        assert "DomainName" in T.outputs[name]["Description"]
