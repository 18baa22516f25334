"""The checks of each resource, by its type. The template says what is expected."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from headcount_cli.doctor.checks import REDEPLOY as _REDEPLOY
from headcount_cli.doctor.checks import Checks, Result
from headcount_cli.doctor.deployed import Deployed, Resource
from headcount_cli.doctor.findings import Finding, fail, info, ok, unknown, warn
from headcount_cli.doctor.loops import FUNCTION as _FUNCTION
from headcount_cli.doctor.loops import MAPPING as _MAPPING
from headcount_cli.doctor.loops import loops
from headcount_cli.doctor.template import UNKNOWN

CHECKS = Checks()
check = CHECKS.of

MIN_SECRET = 32
"""Bytes: the functions refuse shorter ones."""
_MIN_DISTINCT = 10  # characters of a secret that can't be guessed
_BACKLOG = 1_000
MAX_ENVIRONMENT = 4096
"""Bytes of a function's environment: Lambda's limit, which can't be raised."""
_NEARLY_FULL = 0.9
_TRACE_ACTIONS = ["xray:PutTraceSegments", "xray:PutTelemetryRecords"]
_ALLOW = "Allow"
MIN_RECEIVES = 5
"""AWS's advice for a queue that Lambda reads: a throttled receive counts as an attempt."""


# ------------------------------------------------------------------------------------------- tables

_TABLE = "AWS::DynamoDB::Table"


def _table(stack: Deployed, table: Resource) -> dict[str, Any]:
    described: dict[str, Any] = stack.call("dynamodb", "describe_table", TableName=table.name)
    return described["Table"]  # type: ignore[no-any-return]


def _at(value: Any, *path: str) -> Any:
    """The value at a path of keys; None if it is not there."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _keys(schema: Any) -> set[tuple[str, str]]:
    return {(one["AttributeName"], one["KeyType"]) for one in schema}


@check(_TABLE, "table", "dynamodb:DescribeTable")
def table(stack: Deployed, resource: Resource) -> Finding:
    """It exists, is active, and has the template's keys and indexes."""
    found = _table(stack, resource)
    if found["TableStatus"] != "ACTIVE":
        state = found["TableStatus"]
        return fail(
            f"is {state}, not ACTIVE", "wait until it is; if it stays this way, ask AWS support"
        )
    expected = resource.properties
    if _keys(found["KeySchema"]) != _keys(expected["KeySchema"]):
        return fail(
            "has other keys than the template says",
            "someone created another table of this name: restore the right one from a backup",
        )
    indexes = {one["IndexName"]: one for one in found.get("GlobalSecondaryIndexes", [])}
    for one in expected.get("GlobalSecondaryIndexes", []):
        index = indexes.get(one["IndexName"])
        if index is None or _keys(index["KeySchema"]) != _keys(one["KeySchema"]):
            return fail(f"has no index {one['IndexName']}", _REDEPLOY)
        if index.get("IndexStatus", "ACTIVE") != "ACTIVE":
            return fail(
                f"its index {one['IndexName']} is {index['IndexStatus']}", "wait until it is ACTIVE"
            )
    return ok("is active, with its keys and indexes")


@check(_TABLE, "time to live", "dynamodb:DescribeTimeToLive")
def time_to_live(stack: Deployed, resource: Resource) -> Finding | None:
    """Old rows are deleted, by the right attribute."""
    expected = resource.properties.get("TimeToLiveSpecification")
    if not expected or not expected["Enabled"]:
        return None
    found = stack.call("dynamodb", "describe_time_to_live", TableName=resource.name)
    described = found["TimeToLiveDescription"]
    wanted = expected["AttributeName"]
    command = (
        f"aws dynamodb update-time-to-live --table-name {resource.name} "
        f"--time-to-live-specification Enabled=true,AttributeName={wanted}"
    )
    if described["TimeToLiveStatus"] not in {"ENABLED", "ENABLING"}:
        return fail("is off: old rows, with people's data, are never deleted", command)
    if described.get("AttributeName") != wanted:
        return fail(
            f"uses the attribute {described.get('AttributeName')!r}, not {wanted!r}: old rows stay",
            f"turn it off (Enabled=false), wait an hour, then: {command}",
        )
    return ok(f"uses the attribute {wanted!r}")


@check(_TABLE, "stream", "dynamodb:DescribeTable")
def stream(stack: Deployed, resource: Resource) -> Finding | None:
    """It delivers changes with the images that the functions read."""
    expected = resource.properties.get("StreamSpecification")
    if expected is None:
        return None
    view = expected["StreamViewType"]
    found = _stream_view(_table(stack, resource))
    if found == view:
        return ok(f"delivers {view}")
    how = "is off" if found is None else f"delivers {found}, not {view}"
    specification = f"StreamEnabled=true,StreamViewType={view}"
    return fail(
        f"{how}: writes have no effect",
        f"aws dynamodb update-table --table-name {resource.name} --stream-specification "
        f"{specification}; then point the event source mapping at the new stream: {_REDEPLOY}",
    )


def _stream_view(described: Mapping[str, Any]) -> str | None:
    is_on = _at(described, "StreamSpecification", "StreamEnabled")
    return _at(described, "StreamSpecification", "StreamViewType") if is_on else None


@check(_TABLE, "protection", "dynamodb:DescribeTable")
def protection(stack: Deployed, resource: Resource) -> Finding | None:
    """It can't be deleted by mistake, if the parameter asks for that."""
    expected = resource.properties.get("DeletionProtectionEnabled")
    if str(expected).lower() != "true":
        return None
    if str(_table(stack, resource).get("DeletionProtectionEnabled")).lower() == "true":
        return ok("is on")
    return warn(
        "is off, though the template asks for it",
        f"aws dynamodb update-table --table-name {resource.name} --deletion-protection-enabled",
    )


@check(_TABLE, "backups", "dynamodb:DescribeContinuousBackups")
def backups(stack: Deployed, resource: Resource) -> Finding | None:
    """Continuous backups are on if the parameter asks for them."""
    expected = resource.properties.get("PointInTimeRecoverySpecification")
    if expected is None:
        return None
    found = stack.call("dynamodb", "describe_continuous_backups", TableName=resource.name)
    recovery = found["ContinuousBackupsDescription"].get("PointInTimeRecoveryDescription", {})
    is_on = recovery.get("PointInTimeRecoveryStatus") == "ENABLED"
    wanted = str(expected["PointInTimeRecoveryEnabled"]).lower() == "true"
    if wanted and not is_on:
        return warn(
            "are off, though PointInTimeRecovery=true",
            f"aws dynamodb update-continuous-backups --table-name {resource.name} "
            "--point-in-time-recovery-specification PointInTimeRecoveryEnabled=true",
        )
    if is_on:
        return ok("are on")
    return info(
        "are off: a deleted table can't be restored", "deploy with PointInTimeRecovery=true"
    )


# ----------------------------------------------------------------------------------- event sources


_UNLIMITED = -1  # attempts, or seconds


def _mapping(stack: Deployed, resource: Resource) -> dict[str, Any]:
    return stack.call("lambda", "get_event_source_mapping", UUID=resource.name)  # type: ignore[no-any-return]


@check(_MAPPING, "event source", "lambda:GetEventSourceMapping", "dynamodb:DescribeTable")
def event_source(stack: Deployed, resource: Resource) -> Finding:
    """It is on, reads the right stream or queue, and passes on what the template says."""
    found = _mapping(stack, resource)
    expected = resource.properties
    if found["State"] not in {"Enabled", "Enabling", "Creating", "Updating"}:
        return fail(
            f"is {found['State']}: its function is not invoked",
            f"aws lambda update-event-source-mapping --uuid {resource.name} --enabled",
        )
    if wrong := [
        *_wrong_source(stack, expected["EventSourceArn"], found["EventSourceArn"]),
        *_wrong_settings(expected, found),
    ]:
        return fail(f"differs from the template: {', '.join(wrong)}", _REDEPLOY)
    last = found.get("LastProcessingResult") or ""
    if last.startswith("PROBLEM"):
        return warn(f"reports {last!r}", "read the function's log and the dead letters")
    return ok("is on, and matches the template")


def _wrong_source(stack: Deployed, expected: Any, found: str) -> list[str]:
    """Whether it reads another queue, or another stream than its table's current one."""
    if expected is UNKNOWN:
        return []
    if not expected.endswith("/stream/"):
        return [] if found == expected else ["it reads another queue"]
    if not found.startswith(expected):
        return ["it reads another table's stream"]
    (table_,) = (one for one in stack.of_type(_TABLE) if f"{stack.arn(one)}/stream/" == expected)
    described = _table(stack, table_)
    if _stream_view(described) is None:
        return []  # that is the table's fault, and reported there
    return [] if found == described["LatestStreamArn"] else ["it reads a stream that has ended"]


def _wrong_settings(expected: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    def patterns(criteria: Any) -> list[str]:
        filters = (criteria or {}).get("Filters", [])
        return sorted(json.dumps(json.loads(one["Pattern"]), sort_keys=True) for one in filters)

    compared = {
        "its filters": (patterns, "FilterCriteria"),
        "its partial batch response": (lambda one: sorted(one or []), "FunctionResponseTypes"),
        "its dead letters": (
            lambda value: _at(value, "OnFailure", "Destination"),
            "DestinationConfig",
        ),
        "its batches": (lambda value: value, "BatchSize"),
    }
    wrong = [
        part
        for part, (read, name) in compared.items()
        if UNKNOWN not in (want := [read(expected.get(name))]) and want != [read(found.get(name))]
    ]
    if _differs(expected, found, _RETRIES):
        wrong.append("its retries")
    if _differs(expected, found, ("ParallelizationFactor", "ScalingConfig")):
        wrong.append("how many run at once")
    function = expected["FunctionName"]
    if function is not UNKNOWN and not f":{found['FunctionArn']}".endswith(f":{function}"):
        wrong.append("its function")
    return wrong


_RETRIES = ("MaximumRetryAttempts", "MaximumRecordAgeInSeconds", "BisectBatchOnFunctionError")


def _differs(expected: Mapping[str, Any], found: Mapping[str, Any], names: Sequence[str]) -> bool:
    """Whether the template sets one of these properties, and AWS has another value."""
    return any(
        name in found and expected.get(name, UNKNOWN) not in (UNKNOWN, found[name])
        for name in names
    )


@check(_MAPPING, "retries", "lambda:GetEventSourceMapping")
def retries(stack: Deployed, resource: Resource) -> Finding | None:
    """A failing batch is given up soon, because later records of its shard wait for it."""
    found, expected = _mapping(stack, resource), resource.properties
    if ":sqs:" in found["EventSourceArn"] or _differs(expected, found, _RETRIES):
        return None  # a queue has its own limit; a difference is reported above
    attempts = found.get("MaximumRetryAttempts", _UNLIMITED)
    seconds = found.get("MaximumRecordAgeInSeconds", _UNLIMITED)
    if attempts != _UNLIMITED:
        return ok(f"end after {attempts}")
    fix = "deploy this release's template, which sets MaximumRetryAttempts"
    waiting = "and later records of its shard wait"
    if seconds == _UNLIMITED:
        message = "are unlimited: a failing batch is retried as long as the stream keeps it (24 h)"
        return fail(f"{message}, {waiting}; it never becomes a dead letter", fix)
    message = f"are limited by age alone: a failing batch is retried for {_duration(seconds)}"
    return warn(f"{message}, {waiting}", fix)


def _duration(seconds: int) -> str:
    """A duration in its largest whole unit."""
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length and seconds % length == 0:
            number = seconds // length
            return f"{number} {unit}{'s' if number > 1 else ''}"
    return f"{seconds:,} seconds"


# --------------------------------------------------------------------------------------- schedules


@check("AWS::Scheduler::Schedule", "schedule", "scheduler:GetSchedule")
def schedule(stack: Deployed, resource: Resource) -> Finding:
    """It is on, with the right times and function."""
    found = stack.call("scheduler", "get_schedule", Name=resource.name)
    expected = resource.properties
    if found["State"] != "ENABLED":
        return fail(
            f"is {found['State']}: {expected.get('Description', 'its work')} is not done",
            f"turn {resource.name} on in EventBridge Scheduler, or {_REDEPLOY}",
        )
    target, wanted = found["Target"], expected["Target"]
    compared = {
        "its times": (found["ScheduleExpression"], expected["ScheduleExpression"]),
        "its function": (target["Arn"], wanted["Arn"]),
        "its dead letters": (
            _at(target, "DeadLetterConfig", "Arn"),
            _at(wanted, "DeadLetterConfig", "Arn"),
        ),
    }
    wrong = [name for name, (actual, should) in compared.items() if should not in (UNKNOWN, actual)]
    if wrong:
        return fail(f"differs from the template: {', '.join(wrong)}", _REDEPLOY)
    return ok(f"is on, {found['ScheduleExpression']}")


@check("AWS::Events::Rule", "rule", "events:DescribeRule")
def rule(stack: Deployed, resource: Resource) -> Finding:
    """It is on."""
    bus, _, name = str(resource.name).rpartition("|")  # on another bus than the default: bus|rule
    query = {"Name": name, "EventBusName": bus} if bus else {"Name": name}
    found = stack.call("events", "describe_rule", **query)
    if found["State"].startswith("ENABLED"):
        return ok("is on")
    return fail("is off: its function is not invoked", f"aws events enable-rule --name {name}")


# --------------------------------------------------------------------------------------- functions


def _configuration(stack: Deployed, function: Resource) -> dict[str, Any]:
    return stack.call(  # type: ignore[no-any-return]
        "lambda", "get_function_configuration", FunctionName=function.name
    )


@check(_FUNCTION, "function", "lambda:GetFunctionConfiguration")
def function(stack: Deployed, resource: Resource) -> Finding:
    """It can run, and its last update succeeded."""
    found = _configuration(stack, resource)
    state, updated = found.get("State", "Active"), found.get("LastUpdateStatus", "Successful")
    if state == "Failed":
        return fail(f"can't run: {found.get('StateReason', 'no reason given')}", _REDEPLOY)
    if updated == "Failed":
        why = found.get("LastUpdateStatusReason", "no reason given")
        return fail(f"could not be updated: {why}", _REDEPLOY)
    if updated == "InProgress":
        return warn("is being updated", "run the doctor again in a minute")
    return ok("can run")


@check(_FUNCTION, "settings", "lambda:GetFunctionConfiguration")
def settings(stack: Deployed, resource: Resource) -> Finding:
    """Its environment, handler, timeout and memory are the template's. Values are not shown."""
    found = _configuration(stack, resource)
    expected = resource.properties
    if hidden := found.get("Environment", {}).get("Error"):
        return unknown(
            f"could not check: AWS does not show its environment ({hidden.get('ErrorCode')})",
            "grant kms:Decrypt on the environment's key to the AWS identity that runs this",
        )
    actual = found.get("Environment", {}).get("Variables", {})
    wanted = expected.get("Environment", {}).get("Variables", {})
    wrong = [
        name
        for name, value in wanted.items()
        if value is not UNKNOWN and not _same(str(value), actual.get(name))
    ]
    if wrong:
        return fail(
            f"its environment differs from the template: {', '.join(sorted(wrong))}",
            f"correct them in the function's configuration, or {_REDEPLOY}",
        )
    others = [
        name
        for name in ("Handler", "Timeout", "MemorySize", "Runtime", "TracingConfig")
        if expected.get(name, UNKNOWN) not in (UNKNOWN, found.get(name))
    ]
    if others:
        return warn(f"differs from the template: {', '.join(others)}", _REDEPLOY)
    return ok("are the template's")


def _same(expected: str, found: str | None) -> bool:
    """A secret may be given by its name, or by its ARN: the name and six letters."""
    if expected == found:
        return True
    return bool(found and ":secret:" in found and found[:-7].endswith(f":secret:{expected}"))


@check(_FUNCTION, "concurrency", "lambda:GetFunctionConcurrency")
def concurrency(stack: Deployed, resource: Resource) -> Finding:
    """Its concurrency is not 0."""
    found = stack.call("lambda", "get_function_concurrency", FunctionName=resource.name)
    reserved = found.get("ReservedConcurrentExecutions")
    if reserved == 0:
        return fail(
            "is stopped: its concurrency is set to 0",
            f"aws lambda delete-function-concurrency --function-name {resource.name}",
        )
    if reserved is not None:
        return info(f"at most {reserved} at once")
    return ok("is not limited")


@check(_FUNCTION, "environment", "lambda:GetFunctionConfiguration")
def environment(stack: Deployed, resource: Resource) -> Finding | None:
    """It is below Lambda's limit, which applies to all of it as JSON. Values are not shown."""
    has = _configuration(stack, resource).get("Environment", {}).get("Variables")
    if not has:
        return None
    size = len(json.dumps(has, separators=(",", ":"), ensure_ascii=False).encode())
    if size <= _NEARLY_FULL * MAX_ENVIRONMENT:
        return ok(f"takes {size:,} of {MAX_ENVIRONMENT:,} bytes")
    largest = max(has, key=lambda name: len(has[name].encode()))
    parameter = stack.parameter_of(resource, "Environment", "Variables", largest)
    message = (
        f"takes {size:,} of the {MAX_ENVIRONMENT:,} bytes that Lambda allows, "
        f"{len(has[largest].encode()):,} of them for {largest}"
    )
    fix = f"shorten {f'the parameter {parameter}' if parameter else largest}"
    if size > MAX_ENVIRONMENT:
        return fail(f"{message}: AWS refuses to deploy it", fix)
    return warn(f"{message}: a longer value is refused, and the deployment rolled back", fix)


@check(_FUNCTION, "tracing", "lambda:GetFunctionConfiguration", "iam:SimulatePrincipalPolicy")
def tracing(stack: Deployed, resource: Resource) -> Finding | None:
    """If it is traced, its role may send traces."""
    found = _configuration(stack, resource)
    if found.get("TracingConfig", {}).get("Mode") != "Active":
        return None
    simulated = stack.call(
        "iam",
        "simulate_principal_policy",
        PolicySourceArn=found["Role"],
        ActionNames=_TRACE_ACTIONS,
    )["EvaluationResults"]
    missing = [one["EvalActionName"] for one in simulated if one["EvalDecision"] != "allowed"]
    if missing:
        return warn(
            f"is on, but its role lacks {' and '.join(missing)}: its traces are lost, and "
            "AWS refuses the next change of the function",
            "grant that to its role; this release's template does so with Tracing=true",
        )
    return ok("is on, and its role may send traces")


@check(_FUNCTION, "recursion", "lambda:GetFunctionRecursionConfig")
def recursion(stack: Deployed, resource: Resource) -> Finding | None:
    """A function that continues its work through its own queue is allowed to."""
    if resource.id not in loops(stack) and resource.properties.get("RecursiveLoop") != _ALLOW:
        return None
    found = stack.call("lambda", "get_function_recursion_config", FunctionName=resource.name)
    if found["RecursiveLoop"] == _ALLOW:
        return ok("is allowed: it may continue its work through its own queue")
    return fail(
        "is stopped by Lambda: the function continues its work through its own queue, and after "
        "about 16 rounds the rest is dropped without an error, so large work never ends",
        f"aws lambda put-function-recursion-config --function-name {resource.name} "
        f"--recursive-loop {_ALLOW}; this release's template sets it too",
    )


@check("AWS::Lambda::Permission", "permission", "lambda:GetPolicy")
def permission(stack: Deployed, resource: Resource) -> Finding | None:
    """The function's caller may call it."""
    expected = resource.properties
    if UNKNOWN in (expected["FunctionName"], expected.get("SourceArn")):
        return None
    policy = stack.call("lambda", "get_policy", FunctionName=expected["FunctionName"])["Policy"]
    for statement in json.loads(policy)["Statement"]:
        if (
            statement["Effect"] == "Allow"
            and expected["Principal"] in json.dumps(statement["Principal"])
            and expected.get("SourceArn", "") in json.dumps(statement.get("Condition", ""))
        ):
            return ok("is granted")
    return fail(f"is gone: {expected['Principal']} can't call the function", _REDEPLOY)


# --------------------------------------------------------------------------------------------- APIs

_API, _ROUTE = "AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Route"
_INTEGRATION = "x-amazon-apigateway-integration"
_ANY = "x-amazon-apigateway-any-method"


def _routes(stack: Deployed, api: Any) -> dict[str, str]:
    """Route key -> the URI that its integration calls."""
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
        page = stack.call("apigatewayv2", operation, ApiId=api, MaxResults="100", **token)
        items += page["Items"]
        if not page.get("NextToken"):
            return items
        token = {"NextToken": page["NextToken"]}


@check(_API, "API", "apigateway:GET")
def api(stack: Deployed, resource: Resource) -> Finding:
    """It exists, with its stage."""
    stack.call("apigatewayv2", "get_api", ApiId=resource.name)
    stages = {one["StageName"] for one in _items(stack, "get_stages", resource.name)}
    wanted = {
        one.properties["StageName"]
        for one in stack.of_type("AWS::ApiGatewayV2::Stage")
        if one.properties["ApiId"] == resource.name
    }
    if missing := wanted - stages:
        return fail(f"has no stage {', '.join(sorted(missing))}: nothing answers", _REDEPLOY)
    return ok("exists, with its stage")


@check(_API, "routes", "apigateway:GET")
def routes(stack: Deployed, resource: Resource) -> Result:
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
    wrong = []
    if missing := sorted(set(wanted) - set(found)):
        wrong.append(fail(f"are missing: {', '.join(missing)}", _REDEPLOY))
    misrouted = [
        key
        for key, uri in wanted.items()
        if key in found and uri is not UNKNOWN and _function_in(uri) != _function_in(found[key])
    ]
    if misrouted:
        wrong.append(fail(f"lead elsewhere: {', '.join(sorted(misrouted))}", _REDEPLOY))
    return wrong or ok(f"{len(wanted)} lead to their functions")


def routes_of(body: Mapping[str, Any]) -> dict[str, Any]:
    """Route key -> integration URI, from an OpenAPI document."""
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
    """The function's name in an integration's URI: its ARN, or the gateway's path around it."""
    return uri.removesuffix("/invocations").rpartition(":function:")[2]


@check("AWS::ApiGatewayV2::DomainName", "domain", "apigateway:GET")
def domain(stack: Deployed, resource: Resource) -> Finding:
    """It is ready."""
    found = stack.call("apigatewayv2", "get_domain_name", DomainName=resource.name)
    (configuration,) = found["DomainNameConfigurations"]
    status = configuration.get("DomainNameStatus", "AVAILABLE")
    if status == "AVAILABLE":
        return ok("is ready")
    why = configuration.get("DomainNameStatusMessage") or "check its certificate"
    return warn(f"is {status}", why)


@check("AWS::ApiGatewayV2::ApiMapping", "mapping", "apigateway:GET")
def mapping(stack: Deployed, resource: Resource) -> Finding:
    """The domain leads to its API."""
    name, api_id = resource.properties["DomainName"], resource.properties["ApiId"]
    found = stack.call("apigatewayv2", "get_api_mappings", DomainName=name)["Items"]
    if any(one["ApiId"] == api_id for one in found):
        return ok("leads to its API")
    return fail(f"is gone: {name} leads nowhere", _REDEPLOY)


@check("AWS::Lambda::Alias", "alias", "lambda:GetAlias")
def alias(stack: Deployed, resource: Resource) -> Finding:
    """It exists; a second version gets a share only during a deployment."""
    names = {name: resource.properties[name] for name in ("FunctionName", "Name")}
    found = stack.call("lambda", "get_alias", **names)
    if _at(found, "RoutingConfig", "AdditionalVersionWeights"):
        return info("a deployment is in progress: two versions answer")
    return ok(f"leads to version {found['FunctionVersion']}")


@check("AWS::CodeDeploy::DeploymentGroup", "deployment", "codedeploy:GetDeploymentGroup")
def deployment(stack: Deployed, resource: Resource) -> Finding:
    """The last one succeeded."""
    found = stack.call(
        "codedeploy",
        "get_deployment_group",
        applicationName=resource.properties["ApplicationName"],
        deploymentGroupName=resource.name,
    )["deploymentGroupInfo"]
    status = _at(found, "lastAttemptedDeployment", "status") or "Succeeded"
    if status in {"Failed", "Stopped"}:
        return warn(
            f"the last one {status.lower()}: the previous version answers",
            "see its events in CodeDeploy",
        )
    return ok(f"the last one: {status}")


# ------------------------------------------------------------------------------------------ secrets


@check("AWS::SecretsManager::Secret", "secret", "secretsmanager:GetSecretValue")
def secret(stack: Deployed, resource: Resource) -> Finding:
    """It can be read, and can't be guessed."""
    return secret_of(stack, str(resource.name))


def secret_of(stack: Deployed, arn: str) -> Finding:
    """Whether the secret of this ARN can be read and is strong enough."""
    found = stack.call("secretsmanager", "get_secret_value", SecretId=arn)
    return secret_strength(found.get("SecretString", ""), arn)


def secret_strength(text: str, arn: str) -> Finding:
    """Whether a secret is strong enough. It is not shown."""
    command = (
        f"aws secretsmanager put-secret-value --secret-id {arn} --secret-string "
        '"$(openssl rand -hex 32)" (tokens signed with the old one are refused then)'
    )
    if (size := len(text.encode())) < MIN_SECRET:
        return fail(f"has {size} bytes: the functions refuse one below {MIN_SECRET}", command)
    if len(set(text)) < _MIN_DISTINCT:
        return fail(
            f"has fewer than {_MIN_DISTINCT} different characters: it can be guessed", command
        )
    return ok("can be read, and is long enough")


# ------------------------------------------------------------------------------------------- queues

_QUEUE = "AWS::SQS::Queue"


def _attributes(stack: Deployed, resource: Resource) -> dict[str, str]:
    found = stack.call(
        "sqs", "get_queue_attributes", QueueUrl=resource.name, AttributeNames=["All"]
    )
    return found["Attributes"]  # type: ignore[no-any-return]


@check(_QUEUE, "queue", "sqs:GetQueueAttributes")
def queue(stack: Deployed, resource: Resource) -> Finding:
    """It exists, with the template's redrive policy."""
    if _redrive_differs(resource, _redrive(stack, resource)):
        return fail("has another redrive policy than the template says", _REDEPLOY)
    return ok("exists")


def _redrive(stack: Deployed, resource: Resource) -> dict[str, Any]:
    """A queue's redrive policy; empty if it has none."""
    policy = _attributes(stack, resource).get("RedrivePolicy") or "{}"
    return json.loads(policy)  # type: ignore[no-any-return]


def _redrive_differs(resource: Resource, redrive: Mapping[str, Any]) -> bool:
    wanted = resource.properties.get("RedrivePolicy")
    if wanted is None or UNKNOWN in wanted.values():
        return False
    return any(str(redrive.get(name)) != str(value) for name, value in wanted.items())


@check(_QUEUE, "retries", "sqs:GetQueueAttributes")
def receives(stack: Deployed, resource: Resource) -> Finding | None:
    """Messages for a function are received often enough, and not without limit."""
    redrive, arn = _redrive(stack, resource), stack.arn(resource)
    is_read = any(one.properties["EventSourceArn"] == arn for one in stack.of_type(_MAPPING))
    if not is_read or _redrive_differs(resource, redrive):
        return None
    if not redrive:
        seconds = int(_attributes(stack, resource)["MessageRetentionPeriod"])
        return fail(
            f"are unlimited: a failing message comes back for {_duration(seconds)}, then is lost",
            "deploy this release's template, which gives it a RedrivePolicy",
        )
    if (attempts := int(redrive["maxReceiveCount"])) < MIN_RECEIVES:
        return warn(
            f"end after {attempts}: a message that Lambda was too busy for is given up too",
            f"set maxReceiveCount to {MIN_RECEIVES} or more, as this release's template does",
        )
    return ok(f"end after {attempts}")


@check(_QUEUE, "messages", "sqs:GetQueueAttributes")
def messages(stack: Deployed, resource: Resource) -> Finding:
    """A dead-letter queue is empty; another one has no backlog."""
    waiting = int(_attributes(stack, resource).get("ApproximateNumberOfMessages", 0))
    sources = dead_letters_of(stack, resource)
    if not sources:
        if waiting > _BACKLOG:
            return warn(f"{waiting:,} wait", "fix the errors of the function that reads them")
        return ok(f"{waiting} wait")
    if waiting:
        read = f"aws sqs receive-message --queue-url {resource.name}"
        move = f"aws sqs start-message-move-task --source-arn {stack.arn(resource)}, or purge-queue"
        if sources != {_QUEUE}:
            move = "do its work by hand and purge-queue: SQS moves back only what came from a queue"
        return fail(
            f"{waiting:,} dead letters: work that was given up",
            f"{read} names the function and the record, and the function's log the reason; "
            f"then {move}",
        )
    return ok("none")


def dead_letters_of(stack: Deployed, resource: Resource) -> set[str]:
    """Types of the resources whose dead letters go to this queue; empty for any other queue."""
    arn = stack.arn(resource)
    return {one.type for one in stack.resources if arn in _dead_letter_arns(one.properties)}


def _dead_letter_arns(properties: Mapping[str, Any]) -> list[Any]:
    return [
        _at(properties, "RedrivePolicy", "deadLetterTargetArn"),
        _at(properties, "DeadLetterConfig", "TargetArn"),
        _at(properties, "DestinationConfig", "OnFailure", "Destination"),
        _at(properties, "Target", "DeadLetterConfig", "Arn"),
    ]


# ------------------------------------------------------------------------------------ alarms, logs


@check("AWS::CloudWatch::Alarm", "alarm", "cloudwatch:DescribeAlarms")
def alarm(stack: Deployed, resource: Resource) -> Finding:
    """It exists, is on, and is not in alarm. Its description says how to fix what it reports."""
    found = stack.call("cloudwatch", "describe_alarms", AlarmNames=[resource.name])["MetricAlarms"]
    if not found:
        return fail("is gone: no one is notified", _REDEPLOY)
    (described,) = found
    if described["StateValue"] == "ALARM":
        return fail("is in alarm", str(described.get("AlarmDescription") or "look at its metric"))
    if not described.get("ActionsEnabled", True):
        return warn(
            "has its actions turned off: no one is notified",
            f"aws cloudwatch enable-alarm-actions --alarm-names {resource.name}",
        )
    return ok("is not in alarm")


@check("AWS::Logs::LogGroup", "log", "logs:DescribeLogGroups")
def log(stack: Deployed, resource: Resource) -> Finding:
    """It exists, and is kept as long as the parameter says."""
    groups = stack.call("logs", "describe_log_groups", logGroupNamePrefix=resource.name)[
        "logGroups"
    ]
    found = next((one for one in groups if one["logGroupName"] == resource.name), None)
    if found is None:
        return fail("is gone: the function's log lines are lost", _REDEPLOY)
    wanted, kept = resource.properties.get("RetentionInDays"), found.get("retentionInDays")
    if wanted in (None, UNKNOWN) or str(wanted) == str(kept):
        return ok(f"is kept for {kept} days")
    return fail(
        f"is kept {'indefinitely' if kept is None else f'for {kept} days'}, not for {wanted}",
        f"aws logs put-retention-policy --log-group-name {resource.name} "
        f"--retention-in-days {wanted}",
    )


# --------------------------------------------------------------------------------------------- edge


@check("AWS::CloudFront::Distribution", "edge", "cloudfront:GetDistribution")
def edge(stack: Deployed, resource: Resource) -> Finding:
    """It is on and deployed."""
    found = stack.call("cloudfront", "get_distribution", Id=resource.name)["Distribution"]
    if not found["DistributionConfig"]["Enabled"]:
        return fail("is off", _REDEPLOY)
    if found["Status"] != "Deployed":
        return unknown(f"is {found['Status']}: run the doctor again in some minutes")
    return ok("is on")
