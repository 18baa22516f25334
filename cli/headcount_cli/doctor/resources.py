"""What is looked at of each resource, by its type. The template says what is expected."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from headcount_cli.doctor.deployed import Deployed, Resource
from headcount_cli.doctor.findings import Said, fail, info, ok, unknown, warn
from headcount_cli.doctor.template import UNKNOWN

Look = Callable[[Deployed, Resource], Iterator[Said]]

MIN_SECRET = 32
"""Bytes: shorter ones are refused by the functions themselves."""
_VARIED = 10  # different characters in a secret that nobody guesses
_BACKLOG = 1_000
_REDEPLOY = (
    "deploy the stack again (`sam deploy`); where CloudFormation sees no change, change a "
    "parameter and back"
)


@dataclass(frozen=True, slots=True)
class Check:
    """A look at one thing. ``actions``: what AWS must permit for it."""

    name: str
    actions: str
    look: Look


CHECKS: dict[str, list[Check]] = {}
"""By resource type, in the order in which they are done: the first one finds what is gone."""


def check(kind: str, name: str, actions: str) -> Callable[[Look], Look]:
    """Look at every resource of a type."""

    def add(look: Look) -> Look:
        CHECKS.setdefault(kind, []).append(Check(name, actions, look))
        return look

    return add


# ------------------------------------------------------------------------------------------- tables

_TABLE = "AWS::DynamoDB::Table"


def _table(stack: Deployed, table: Resource) -> dict[str, Any]:
    described: dict[str, Any] = stack.ask("dynamodb", "describe_table", TableName=table.name)
    return described["Table"]  # type: ignore[no-any-return]


def _keys(schema: Any) -> set[tuple[str, str]]:
    return {(one["AttributeName"], one["KeyType"]) for one in schema}


@check(_TABLE, "table", "dynamodb:DescribeTable")
def table(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is there, active, and has the template's keys and indexes."""
    found = _table(stack, resource)
    if found["TableStatus"] != "ACTIVE":
        state = found["TableStatus"]
        yield fail(f"is {state}, not ACTIVE", "wait until it is; if it stays so, ask AWS support")
        return
    expected = resource.properties
    if _keys(found["KeySchema"]) != _keys(expected["KeySchema"]):
        yield fail(
            "has other keys than the template says",
            "somebody made another table of this name: restore the right one from a backup",
        )
        return
    indexes = {one["IndexName"]: one for one in found.get("GlobalSecondaryIndexes", [])}
    for one in expected.get("GlobalSecondaryIndexes", []):
        index = indexes.get(one["IndexName"])
        if index is None or _keys(index["KeySchema"]) != _keys(one["KeySchema"]):
            yield fail(f"lacks its index {one['IndexName']}", _REDEPLOY)
            return
        if index.get("IndexStatus", "ACTIVE") != "ACTIVE":
            yield fail(
                f"its index {one['IndexName']} is {index['IndexStatus']}", "wait until it is ACTIVE"
            )
            return
    yield ok("is active, with its keys and indexes")


@check(_TABLE, "time to live", "dynamodb:DescribeTimeToLive")
def time_to_live(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """Old rows are deleted, by the right attribute."""
    expected = resource.properties.get("TimeToLiveSpecification")
    if not expected or not expected["Enabled"]:
        return
    found = stack.ask("dynamodb", "describe_time_to_live", TableName=resource.name)
    said = found["TimeToLiveDescription"]
    wanted = expected["AttributeName"]
    command = (
        f"aws dynamodb update-time-to-live --table-name {resource.name} "
        f"--time-to-live-specification Enabled=true,AttributeName={wanted}"
    )
    if said["TimeToLiveStatus"] not in {"ENABLED", "ENABLING"}:
        yield fail("is off: old rows, and what they say of people, stay for ever", command)
    elif said.get("AttributeName") != wanted:
        yield fail(
            f"goes by {said.get('AttributeName')!r}, not by {wanted!r}: rows stay for ever",
            f"switch it off (Enabled=false), and an hour later on: {command}",
        )
    else:
        yield ok(f"goes by {wanted!r}")


@check(_TABLE, "stream", "dynamodb:DescribeTable")
def stream(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It tells its changes, in the way the functions read them."""
    expected = resource.properties.get("StreamSpecification")
    if expected is None:
        return
    view = expected["StreamViewType"]
    found = _stream_view(_table(stack, resource))
    if found == view:
        yield ok(f"tells {view}")
        return
    how = "is off" if found is None else f"tells {found}, not {view}"
    specification = f"StreamEnabled=true,StreamViewType={view}"
    yield fail(
        f"{how}: nothing that is written has any effect",
        f"aws dynamodb update-table --table-name {resource.name} --stream-specification "
        f"{specification}; then point the event source mapping to the new stream: {_REDEPLOY}",
    )


def _stream_view(described: Mapping[str, Any]) -> str | None:
    specification = described.get("StreamSpecification") or {}
    view: str | None = specification.get("StreamViewType")
    return view if specification.get("StreamEnabled") else None


@check(_TABLE, "protection", "dynamodb:DescribeTable")
def protection(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It can't be deleted by mistake, where the parameter asks for that."""
    expected = resource.properties.get("DeletionProtectionEnabled")
    if str(expected).lower() != "true":
        return
    if str(_table(stack, resource).get("DeletionProtectionEnabled")).lower() == "true":
        yield ok("is on")
    else:
        yield warn(
            "is off, though the template asks for it",
            f"aws dynamodb update-table --table-name {resource.name} --deletion-protection-enabled",
        )


@check(_TABLE, "backups", "dynamodb:DescribeContinuousBackups")
def backups(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """Continuous backups are as the parameter asks for."""
    expected = resource.properties.get("PointInTimeRecoverySpecification")
    if expected is None:
        return
    found = stack.ask("dynamodb", "describe_continuous_backups", TableName=resource.name)
    said = found["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    is_on = said.get("PointInTimeRecoveryStatus") == "ENABLED"
    asked_for = str(expected["PointInTimeRecoveryEnabled"]).lower() == "true"
    if asked_for and not is_on:
        yield warn(
            "are off, though PointInTimeRecovery=true",
            f"aws dynamodb update-continuous-backups --table-name {resource.name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
        )
    elif is_on:
        yield ok("are on")
    else:
        yield info("are off: a deleted table is lost", "deploy with PointInTimeRecovery=true")


# ----------------------------------------------------------------------------------- event sources


@check("AWS::Lambda::EventSourceMapping", "event source", "lambda:GetEventSourceMapping")
def event_source(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is on, reads the right stream or queue, and hands on what the template says."""
    found = stack.ask("lambda", "get_event_source_mapping", UUID=resource.name)
    expected = resource.properties
    if found["State"] not in {"Enabled", "Enabling", "Creating", "Updating"}:
        yield fail(
            f"is {found['State']}: its function hears nothing",
            f"aws lambda update-event-source-mapping --uuid {resource.name} --enabled",
        )
        return
    if wrong := [
        *_wrong_source(stack, expected["EventSourceArn"], found["EventSourceArn"]),
        *_wrong_settings(expected, found),
    ]:
        yield fail(f"differs from the template: {', '.join(wrong)}", _REDEPLOY)
        return
    last = found.get("LastProcessingResult") or ""
    if last.startswith("PROBLEM"):
        yield warn(f"says {last!r}", "look at the function's log and at the dead letters")
        return
    yield ok("is on, and as the template says")


def _wrong_source(stack: Deployed, expected: Any, found: str) -> list[str]:
    """Whether it reads another stream than its table has now, or another queue."""
    if expected is UNKNOWN:
        return []
    if not expected.endswith("/stream/"):
        return [] if found == expected else ["it reads another queue"]
    if not found.startswith(expected):
        return ["it reads another table's stream"]
    (table_,) = (one for one in stack.of_type(_TABLE) if f"{stack.arn(one)}/stream/" == expected)
    described = _table(stack, table_)
    if _stream_view(described) is None:
        return []  # that is the table's fault, and said there
    return [] if found == described["LatestStreamArn"] else ["it reads a stream that has ended"]


def _wrong_settings(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    def patterns(criteria: Any) -> list[str]:
        filters = (criteria or {}).get("Filters", [])
        return sorted(json.dumps(json.loads(one["Pattern"]), sort_keys=True) for one in filters)

    def destination(config: Any) -> Any:
        return ((config or {}).get("OnFailure") or {}).get("Destination")

    compared = {
        "its filters": (patterns, "FilterCriteria"),
        "what of a batch is tried again": (
            lambda value: sorted(value or []),
            "FunctionResponseTypes",
        ),
        "where failures go": (destination, "DestinationConfig"),
        "its batches": (lambda value: value, "BatchSize"),
    }
    wrong = [
        words
        for words, (read, name) in compared.items()
        if UNKNOWN not in (want := [read(expected.get(name))]) and want != [read(found.get(name))]
    ]
    function = expected["FunctionName"]
    if function is not UNKNOWN and not f":{found['FunctionArn']}".endswith(f":{function}"):
        wrong.append("whom it tells")
    return wrong


# --------------------------------------------------------------------------------------- schedules


@check("AWS::Scheduler::Schedule", "schedule", "scheduler:GetSchedule")
def schedule(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is on, at the right times, for the right function."""
    found = stack.ask("scheduler", "get_schedule", Name=resource.name)
    expected = resource.properties
    if found["State"] != "ENABLED":
        yield fail(
            f"is {found['State']}: {expected.get('Description', 'its work')} is not done",
            f"switch {resource.name} on in EventBridge Scheduler, or {_REDEPLOY}",
        )
        return
    target, wanted = found["Target"], expected["Target"]
    compared = {
        "its times": (found["ScheduleExpression"], expected["ScheduleExpression"]),
        "its function": (target["Arn"], wanted["Arn"]),
        "its dead letters": (
            target.get("DeadLetterConfig", {}).get("Arn"),
            wanted.get("DeadLetterConfig", {}).get("Arn"),
        ),
    }
    wrong = [name for name, (is_, should) in compared.items() if should not in (UNKNOWN, is_)]
    if wrong:
        yield fail(f"differs from the template: {', '.join(wrong)}", _REDEPLOY)
    else:
        yield ok(f"is on, {found['ScheduleExpression']}")


@check("AWS::Events::Rule", "rule", "events:DescribeRule")
def rule(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is on."""
    bus, _, name = str(resource.name).rpartition("|")  # one of a bus of its own is named bus|rule
    asked = {"Name": name, "EventBusName": bus} if bus else {"Name": name}
    found = stack.ask("events", "describe_rule", **asked)
    if found["State"].startswith("ENABLED"):
        yield ok("is on")
    else:
        yield fail("is off: its function hears nothing", f"aws events enable-rule --name {name}")


# --------------------------------------------------------------------------------------- functions

_FUNCTION = "AWS::Lambda::Function"


@check(_FUNCTION, "function", "lambda:GetFunctionConfiguration")
def function(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It can run, and its last update succeeded."""
    found = stack.ask("lambda", "get_function_configuration", FunctionName=resource.name)
    state, updated = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
    if state == "Failed":
        yield fail(f"can't run: {found.get('StateReason', 'no reason given')}", _REDEPLOY)
    elif updated == "Failed":
        why = found.get("LastUpdateStatusReason", "no reason given")
        yield fail(f"could not be updated: {why}", _REDEPLOY)
    elif updated == "InProgress":
        yield warn("is being updated", "look again in a minute")
    else:
        yield ok("can run")


@check(_FUNCTION, "settings", "lambda:GetFunctionConfiguration")
def settings(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """Its environment, handler, time and memory are the template's. Values are not shown."""
    found = stack.ask("lambda", "get_function_configuration", FunctionName=resource.name)
    expected = resource.properties
    has = found.get("Environment", {}).get("Variables", {})
    should = expected.get("Environment", {}).get("Variables", {})
    wrong = [
        name
        for name, value in should.items()
        if value is not UNKNOWN and not _same(str(value), has.get(name))
    ]
    if wrong:
        yield fail(
            f"its environment differs from the template: {', '.join(sorted(wrong))}",
            f"put them right in the function's configuration, or {_REDEPLOY}",
        )
        return
    others = [
        name
        for name in ("Handler", "Timeout", "MemorySize", "Runtime")
        if expected.get(name, UNKNOWN) not in (UNKNOWN, found.get(name))
    ]
    if others:
        yield warn(f"differs from the template: {', '.join(others)}", _REDEPLOY)
    else:
        yield ok("are the template's")


def _same(expected: str, found: str | None) -> bool:
    """A secret may stand there by its name or its ARN, which ends with that and six letters."""
    if expected == found:
        return True
    return bool(found and ":secret:" in found and found[:-7].endswith(f":secret:{expected}"))


@check(_FUNCTION, "concurrency", "lambda:GetFunctionConcurrency")
def concurrency(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is not stopped."""
    found = stack.ask("lambda", "get_function_concurrency", FunctionName=resource.name)
    reserved = found.get("ReservedConcurrentExecutions")
    if reserved == 0:
        yield fail(
            "is stopped: its concurrency is set to 0",
            f"aws lambda delete-function-concurrency --function-name {resource.name}",
        )
    elif reserved is not None:
        yield info(f"at most {reserved} at once")
    else:
        yield ok("is not limited")


@check("AWS::Lambda::Permission", "permission", "lambda:GetPolicy")
def permission(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """Who calls the function may."""
    expected = resource.properties
    if UNKNOWN in (expected["FunctionName"], expected.get("SourceArn")):
        return
    policy = stack.ask("lambda", "get_policy", FunctionName=expected["FunctionName"])["Policy"]
    for statement in json.loads(policy)["Statement"]:
        if (
            statement["Effect"] == "Allow"
            and expected["Principal"] in json.dumps(statement["Principal"])
            and expected.get("SourceArn", "") in json.dumps(statement.get("Condition", ""))
        ):
            yield ok("is given")
            return
    yield fail(f"is gone: {expected['Principal']} can't call the function", _REDEPLOY)


# --------------------------------------------------------------------------------------------- APIs

_API, _ROUTE = "AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Route"
_INTEGRATION = "x-amazon-apigateway-integration"
_ANY = "x-amazon-apigateway-any-method"


def _routes(stack: Deployed, api: Any) -> dict[str, str]:
    """Route key -> the address its integration calls."""
    targets = {
        f"integrations/{one['IntegrationId']}": str(one.get("IntegrationUri", ""))
        for one in _items(stack, "get_integrations", api)
    }
    routes = _items(stack, "get_routes", api)
    return {one["RouteKey"]: targets.get(one.get("Target", ""), "") for one in routes}


def _items(stack: Deployed, operation: str, api: Any) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    token: dict[str, str] = {}
    while True:
        page = stack.ask("apigatewayv2", operation, ApiId=api, MaxResults="100", **token)
        items += page["Items"]
        if not page.get("NextToken"):
            return items
        token = {"NextToken": page["NextToken"]}


@check(_API, "API", "apigateway:GET")
def api(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is there, and its stage is."""
    stack.ask("apigatewayv2", "get_api", ApiId=resource.name)
    stages = {one["StageName"] for one in _items(stack, "get_stages", resource.name)}
    wanted = {
        one.properties["StageName"]
        for one in stack.of_type("AWS::ApiGatewayV2::Stage")
        if one.properties["ApiId"] == resource.name
    }
    if missing := wanted - stages:
        yield fail(f"lacks its stage {', '.join(sorted(missing))}: nothing answers", _REDEPLOY)
    else:
        yield ok("is there, with its stage")


@check(_API, "routes", "apigateway:GET")
def routes(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """Every route of its OpenAPI body, or of the template, leads to its function."""
    wanted = {
        **routes_of(resource.properties.get("Body", {})),
        **{
            one.properties["RouteKey"]: _target_of(stack, one)
            for one in stack.of_type(_ROUTE)
            if one.properties["ApiId"] == resource.name
        },
    }
    found = _routes(stack, resource.name)
    if missing := sorted(set(wanted) - set(found)):
        yield fail(f"are missing: {', '.join(missing)}", _REDEPLOY)
    astray = [
        key
        for key, uri in wanted.items()
        if key in found and uri is not UNKNOWN and _function_in(uri) != _function_in(found[key])
    ]
    if astray:
        yield fail(f"lead elsewhere: {', '.join(sorted(astray))}", _REDEPLOY)
    if not missing and not astray:
        yield ok(f"{len(wanted)} lead to their functions")


def routes_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Route key -> integration address, from an OpenAPI document."""
    found = {}
    for path, operations in body.get("paths", {}).items():
        for method, operation in operations.items():
            if isinstance(operation, Mapping) and _INTEGRATION in operation:
                verb = "ANY" if method == _ANY else method.upper()
                key = path if path == "$default" else f"{verb} {path}"
                found[key] = operation[_INTEGRATION]["uri"]
    return found


def _target_of(stack: Deployed, route: Resource) -> Any:
    """The address of the integration that a route of the template names."""
    target = route.properties.get("Target", UNKNOWN)
    if target is UNKNOWN:
        return UNKNOWN
    name = str(target).rpartition("/")[2]
    found = stack.named(name, "AWS::ApiGatewayV2::Integration")
    return found.properties["IntegrationUri"] if found else UNKNOWN


def _function_in(uri: str) -> str:
    """The function's name in an integration's address: its ARN, or that wrapped for the gateway."""
    return uri.removesuffix("/invocations").rpartition(":function:")[2]


@check("AWS::ApiGatewayV2::DomainName", "domain", "apigateway:GET")
def domain(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is ready."""
    found = stack.ask("apigatewayv2", "get_domain_name", DomainName=resource.name)
    (configuration,) = found["DomainNameConfigurations"]
    status = configuration.get("DomainNameStatus", "AVAILABLE")
    if status == "AVAILABLE":
        yield ok("is ready")
    else:
        why = configuration.get("DomainNameStatusMessage") or "look at its certificate"
        yield warn(f"is {status}", why)


@check("AWS::ApiGatewayV2::ApiMapping", "mapping", "apigateway:GET")
def mapping(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """The domain leads to its API."""
    name, api_id = resource.properties["DomainName"], resource.properties["ApiId"]
    found = stack.ask("apigatewayv2", "get_api_mappings", DomainName=name)["Items"]
    if any(one["ApiId"] == api_id for one in found):
        yield ok("leads to its API")
    else:
        yield fail(f"is gone: {name} leads nowhere", _REDEPLOY)


@check("AWS::Lambda::Alias", "alias", "lambda:GetAlias")
def alias(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is there; a second version gets a share only while a deployment is under way."""
    named = {
        "FunctionName": resource.properties["FunctionName"],
        "Name": resource.properties["Name"],
    }
    found = stack.ask("lambda", "get_alias", **named)
    share = (found.get("RoutingConfig") or {}).get("AdditionalVersionWeights")
    if share:
        yield info("a deployment is under way: two versions answer")
    else:
        yield ok(f"leads to version {found['FunctionVersion']}")


@check("AWS::CodeDeploy::DeploymentGroup", "deployment", "codedeploy:GetDeploymentGroup")
def deployment(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """The last one succeeded."""
    found = stack.ask(
        "codedeploy",
        "get_deployment_group",
        applicationName=resource.properties["ApplicationName"],
        deploymentGroupName=resource.name,
    )["deploymentGroupInfo"]
    status = (found.get("lastAttemptedDeployment") or {}).get("status", "Succeeded")
    if status in {"Failed", "Stopped"}:
        yield warn(f"the last one {status.lower()}: the version before answers", "see CodeDeploy")
    else:
        yield ok(f"the last one: {status}")


# ------------------------------------------------------------------------------------------ secrets


@check("AWS::SecretsManager::Secret", "secret", "secretsmanager:GetSecretValue")
def secret(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It can be read, and nobody guesses it."""
    yield judged(str(_secret_value(stack, resource.name)), str(resource.name))


def _secret_value(stack: Deployed, arn: Any) -> Any:
    return stack.ask("secretsmanager", "get_secret_value", SecretId=arn).get("SecretString", "")


def judged(text: str, arn: str) -> Said:
    """Whether a secret is strong enough. It is not shown."""
    command = (
        f"aws secretsmanager put-secret-value --secret-id {arn} --secret-string "
        '"$(openssl rand -hex 32)" (what the old one signed is not accepted any more)'
    )
    if (size := len(text.encode())) < MIN_SECRET:
        return fail(f"has {size} bytes: below {MIN_SECRET} it is not used", command)
    if len(set(text)) < _VARIED:
        return fail(f"has fewer than {_VARIED} different characters: it can be guessed", command)
    return ok("can be read, and is long enough")


# ------------------------------------------------------------------------------------------- queues

_QUEUE = "AWS::SQS::Queue"


def _attributes(stack: Deployed, resource: Resource) -> dict[str, str]:
    found = stack.ask("sqs", "get_queue_attributes", QueueUrl=resource.name, AttributeNames=["All"])
    return found["Attributes"]  # type: ignore[no-any-return]


@check(_QUEUE, "queue", "sqs:GetQueueAttributes")
def queue(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is there, and what fails goes where the template says."""
    found = _attributes(stack, resource)
    wanted = resource.properties.get("RedrivePolicy")
    if wanted is not None and UNKNOWN not in wanted.values():
        redrive = json.loads(found.get("RedrivePolicy", "{}"))
        same = {name: str(redrive.get(name)) for name in wanted}
        if same != {name: str(value) for name, value in wanted.items()}:
            yield fail("does not hand on what fails as the template says", _REDEPLOY)
            return
    yield ok("is there")


@check(_QUEUE, "messages", "sqs:GetQueueAttributes")
def messages(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """Nothing lies in a queue of dead letters; nothing piles up in another."""
    waiting = int(_attributes(stack, resource).get("ApproximateNumberOfMessages", 0))
    if is_dead_letters(stack, resource):
        if waiting:
            yield fail(
                f"{waiting:,} lie there: work that was given up",
                f"aws sqs receive-message --queue-url {resource.name} names the function and the "
                "record, its log the reason; then aws sqs start-message-move-task, or purge-queue",
            )
        else:
            yield ok("none")
    elif waiting > _BACKLOG:
        yield warn(f"{waiting:,} wait", "look at the errors of the function that reads them")
    else:
        yield ok(f"{waiting} wait")


def is_dead_letters(stack: Deployed, resource: Resource) -> bool:
    """Whether anything of the template puts there what failed."""
    arn = stack.arn(resource)
    return any(arn in _dead_letter_arns(one.properties) for one in stack.resources)


def _dead_letter_arns(properties: Mapping[str, Any]) -> list[Any]:
    return [
        (properties.get("RedrivePolicy") or {}).get("deadLetterTargetArn"),
        (properties.get("DeadLetterConfig") or {}).get("TargetArn"),
        ((properties.get("DestinationConfig") or {}).get("OnFailure") or {}).get("Destination"),
        ((properties.get("Target") or {}).get("DeadLetterConfig") or {}).get("Arn")
        if isinstance(properties.get("Target"), Mapping)
        else None,
    ]


# ------------------------------------------------------------------------------------ alarms, logs


@check("AWS::CloudWatch::Alarm", "alarm", "cloudwatch:DescribeAlarms")
def alarm(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is there, on, and quiet. What it says when it rings is how to mend it."""
    found = stack.ask("cloudwatch", "describe_alarms", AlarmNames=[resource.name])["MetricAlarms"]
    if not found:
        yield fail("is gone: nobody is told", _REDEPLOY)
        return
    (said,) = found
    if said["StateValue"] == "ALARM":
        yield fail("rings", str(said.get("AlarmDescription") or "look at its metric"))
    elif not said.get("ActionsEnabled", True):
        yield warn(
            "its actions are off: nobody is told",
            f"aws cloudwatch enable-alarm-actions --alarm-names {resource.name}",
        )
    else:
        yield ok("is quiet")


@check("AWS::Logs::LogGroup", "log", "logs:DescribeLogGroups")
def log(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is there, and kept as long as the parameter says."""
    groups = stack.ask("logs", "describe_log_groups", logGroupNamePrefix=resource.name)["logGroups"]
    found = next((one for one in groups if one["logGroupName"] == resource.name), None)
    if found is None:
        yield fail("is gone: what the function says is lost", _REDEPLOY)
        return
    wanted, kept = resource.properties.get("RetentionInDays"), found.get("retentionInDays")
    if wanted in (None, UNKNOWN) or str(wanted) == str(kept):
        yield ok(f"is kept for {kept} days")
        return
    yield fail(
        f"is kept {'for ever' if kept is None else f'for {kept} days'}, not for {wanted}",
        f"aws logs put-retention-policy --log-group-name {resource.name} "
        f"--retention-in-days {wanted}",
    )


# --------------------------------------------------------------------------------------------- edge


@check("AWS::CloudFront::Distribution", "edge", "cloudfront:GetDistribution")
def edge(stack: Deployed, resource: Resource) -> Iterator[Said]:
    """It is on and rolled out."""
    found = stack.ask("cloudfront", "get_distribution", Id=resource.name)["Distribution"]
    if not found["DistributionConfig"]["Enabled"]:
        yield fail("is off", _REDEPLOY)
    elif found["Status"] != "Deployed":
        yield unknown(f"is {found['Status']}: look again in some minutes")
    else:
        yield ok("is on")
