"""template.yaml's edge: there when it is asked for, and for nobody a way around a token."""

from __future__ import annotations

import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from typing import Any

import pytest

from tests.support.template import template, translated

T = template()
EDGE = {name for name in T.resources if name.startswith("Edge")}
DISTRIBUTION = T.resources["EdgeDistribution"]["Properties"]["DistributionConfig"]
BEHAVIORS = [DISTRIBUTION["DefaultCacheBehavior"], *DISTRIBUTION["CacheBehaviors"]]
# Ids of AWS's own policies, the same in every account.
CACHING_DISABLED = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
ALL_VIEWER_EXCEPT_HOST_HEADER = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
# What CloudFront keeps for 10 s, whatever the answer says, unless it is told otherwise.
ERRORS_ALWAYS_KEPT = {404, 405, 414, 500, 501, 502, 503, 504}


def named_in(value: Any) -> Iterator[str]:
    """What a part of a template refers to, by logical id, in whichever branch of a condition."""
    match value:
        case {"Ref": str(name)}:
            yield name
        case {"Fn::GetAtt": [str(name), *_]}:
            yield name
        case {"Fn::GetAtt": str(name)}:
            yield name.split(".")[0]
        case {"Fn::Sub": str(text)}:
            yield from re.findall(r"\$\{([A-Za-z0-9]+)", text)
        case {"Fn::Sub": [str(text), dict(own)]}:
            yield from set(re.findall(r"\$\{([A-Za-z0-9]+)", text)) - set(own)
            yield from named_in(list(own.values()))
        case dict():
            yield from named_in(list(value.values()))
        case list():
            for one in value:
                yield from named_in(one)


def depends_on(resource: dict[str, Any]) -> list[str]:
    names = resource.get("DependsOn", [])
    return [names] if isinstance(names, str) else names


def key_of_cached_answers(**parameters: str) -> dict[str, Any]:
    policy = T.resolve(T.resources["EdgeCachePolicy"]["Properties"], **parameters)
    key: dict[str, Any] = policy["CachePolicyConfig"]["ParametersInCacheKeyAndForwardedToOrigin"]
    return key


# ---------------------------------------------------------------------------------------- condition


def test_there_is_no_edge_unless_it_is_asked_for() -> None:
    assert T.parameters["Edge"]["Default"] == "false"
    asked = {"Fn::If": ["HasEdge", "yes", "no"]}
    assert (T.resolve(asked), T.resolve(asked, Edge="true")) == ("no", "yes")
    for name in EDGE:
        assert T.resources[name]["Condition"] == (
            "HasEdgeRecord" if name == "EdgeRecord" else "HasEdge"
        )
    assert {"EdgeDistribution", "EdgeCachePolicy", "EdgeSocketPath", "EdgeRecord"} == EDGE
    for name in ("EdgeUrl", "EdgeWebSocketUrl"):
        assert T.outputs[name]["Condition"] == "HasEdge"


def test_nothing_else_changes_with_the_edge() -> None:
    others = {name: one for name, one in T.resources.items() if name not in EDGE}
    assert EDGE & set(named_in(others)) == set()
    assert "HasEdge" not in str(others)
    mentioning = [name for name, one in T.outputs.items() if EDGE & set(named_in(one["Value"]))]
    assert sorted(mentioning) == ["EdgeDomainTarget", "EdgeUrl", "EdgeWebSocketUrl"]


def test_no_resource_waits_for_itself() -> None:
    resources = translated()["Resources"]
    graph = {
        name: {*named_in(resource), *depends_on(resource)} & set(resources)
        for name, resource in resources.items()
    }
    assert {"HttpApi", "SocketApi", "EdgeSocketPath"} <= graph["EdgeDistribution"]
    assert "ApiFunction" in graph["HttpApi"]  # its body: what would close a circle
    assert len(list(TopologicalSorter(graph).static_order())) == len(resources)


# ------------------------------------------------------------------------------------------ traffic


def test_sockets_have_their_paths_and_the_http_api_the_rest() -> None:
    api = "execute-api.us-east-1.amazonaws.com"
    origins = {one["Id"]: T.resolve(one["DomainName"]) for one in DISTRIBUTION["Origins"]}
    assert origins == {"http": f"HttpApi.{api}", "socket": f"SocketApi.{api}"}
    assert DISTRIBUTION["DefaultCacheBehavior"]["TargetOriginId"] == "http"
    sockets = {one["PathPattern"]: one["TargetOriginId"] for one in DISTRIBUTION["CacheBehaviors"]}
    assert sockets == {"/ws": "socket", "/api/ws/*": "socket"}


def test_the_path_of_a_socket_is_rewritten_and_no_other() -> None:
    for behavior in BEHAVIORS:
        (wanted,) = behavior.get("FunctionAssociations", [None])
        if behavior["TargetOriginId"] == "socket":
            assert wanted["EventType"] == "viewer-request"
            assert T.resolve(wanted["FunctionARN"]) == "EdgeSocketPath.FunctionARN"
        else:
            assert wanted is None
    function = T.resources["EdgeSocketPath"]["Properties"]
    assert function["AutoPublish"] is True
    assert function["FunctionConfig"]["Runtime"] == "cloudfront-js-2.0"


def test_every_method_of_the_api_passes_and_only_reads_are_kept() -> None:
    behavior = DISTRIBUTION["DefaultCacheBehavior"]
    assert {"GET", "HEAD", "OPTIONS", "POST", "DELETE"} <= set(behavior["AllowedMethods"])
    assert behavior["CachedMethods"] == ["GET", "HEAD"]


def test_nothing_travels_in_clear() -> None:
    assert {one["ViewerProtocolPolicy"] for one in BEHAVIORS} == {"https-only"}
    for origin in DISTRIBUTION["Origins"]:
        assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
        assert origin["CustomOriginConfig"]["OriginSSLProtocols"] == ["TLSv1.2"]


def test_tokens_in_queries_are_in_no_log_of_the_edge() -> None:
    assert "Logging" not in DISTRIBUTION
    assert not any("RealtimeLogConfigArn" in behavior for behavior in BEHAVIORS)
    assert "console" not in T.resources["EdgeSocketPath"]["Properties"]["FunctionCode"]


def test_visitors_get_http_3_ipv6_and_compressed_answers() -> None:
    assert DISTRIBUTION["HttpVersion"] == "http2and3"
    assert DISTRIBUTION["IPV6Enabled"] is True
    assert DISTRIBUTION["DefaultCacheBehavior"]["Compress"] is True
    assert key_of_cached_answers()["EnableAcceptEncodingGzip"] is True
    assert key_of_cached_answers()["EnableAcceptEncodingBrotli"] is True


# ------------------------------------------------------------------------------------------ caching


def test_what_the_api_does_not_call_cacheable_is_not_kept() -> None:
    policy = T.resources["EdgeCachePolicy"]["Properties"]["CachePolicyConfig"]
    assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 0)
    assert 0 < policy["MaxTTL"] <= 5
    assert T.resolve(DISTRIBUTION["DefaultCacheBehavior"]["CachePolicyId"]) == "EdgeCachePolicy"


def test_sockets_are_not_cached() -> None:
    for behavior in DISTRIBUTION["CacheBehaviors"]:
        assert behavior["CachePolicyId"] == CACHING_DISABLED


def test_errors_are_not_kept() -> None:
    kept = {one["ErrorCode"]: one for one in DISTRIBUTION["CustomErrorResponses"]}
    assert set(kept) >= ERRORS_ALWAYS_KEPT
    for error in kept.values():
        assert error["ErrorCachingMinTTL"] == 0
        assert "ResponsePagePath" not in error


@pytest.mark.parametrize("cookie", ["", "session"])
def test_wherever_a_token_may_be_is_in_the_key_of_a_cached_answer(cookie: str) -> None:
    key = key_of_cached_answers(TokenCookie=cookie)
    assert "Authorization" in key["HeadersConfig"]["Headers"]
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
    assert key["CookiesConfig"].get("Cookies", []) == ([cookie] if cookie else [])
    assert key["CookiesConfig"]["CookieBehavior"] == ("whitelist" if cookie else "none")


def test_a_page_of_one_origin_is_not_given_the_answer_to_another() -> None:
    assert "Origin" in key_of_cached_answers()["HeadersConfig"]["Headers"]


def test_the_apis_get_everything_but_the_host_and_the_country_with_it() -> None:
    for behavior in BEHAVIORS:
        assert behavior["OriginRequestPolicyId"] == ALL_VIEWER_EXCEPT_HOST_HEADER
    headers = key_of_cached_answers()["HeadersConfig"]
    assert headers["HeaderBehavior"] == "whitelist"
    assert "CloudFront-Viewer-Country" in headers["Headers"]
    assert "Host" not in headers["Headers"]
