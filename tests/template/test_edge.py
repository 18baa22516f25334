"""template.yaml's edge: optional, and no way around a token."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

import pytest

from lab.harness.template import template, translated
from tests.template.rendering import depends_on, references

T = template()
EDGE = {name for name in T.resources if name.startswith("Edge")}
DISTRIBUTION = T.resources["EdgeDistribution"]["Properties"]["DistributionConfig"]
BEHAVIORS = [DISTRIBUTION["DefaultCacheBehavior"], *DISTRIBUTION["CacheBehaviors"]]
# Ids of AWS's own policies, the same in every account.
ALL_VIEWER_EXCEPT_HOST_HEADER = "b689b0a8-53d0-40ab-baf2-68738e2966ac"
# CloudFront caches these errors for 10 s by default, whatever the answer's headers say.
ERRORS_CACHED_BY_DEFAULT = {404, 405, 414, 500, 501, 502, 503, 504}


def key_of_cached_answers(**parameters: str) -> dict[str, Any]:
    policy = T.resolve(T.resources["EdgeCachePolicy"]["Properties"], **parameters)
    key: dict[str, Any] = policy["CachePolicyConfig"]["ParametersInCacheKeyAndForwardedToOrigin"]
    return key


# ---------------------------------------------------------------------------------------- condition


def test_the_edge_is_created_only_on_request() -> None:
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
    # Except the domain's DNS record, which points to the edge or to the API.
    ours = {*EDGE, "HttpDomainRecord"}
    others = {name: one for name, one in T.resources.items() if name not in ours}
    assert EDGE & set(references(others)) == set()
    assert "HasEdge" not in str(others)
    mentioning = [name for name, one in T.outputs.items() if EDGE & set(references(one["Value"]))]
    assert sorted(mentioning) == ["EdgeDomainTarget", "EdgeUrl", "EdgeWebSocketUrl", "Embed"]


def test_no_resource_waits_for_itself() -> None:
    resources = translated()["Resources"]
    graph = {
        name: {*references(resource), *depends_on(resource)} & set(resources)
        for name, resource in resources.items()
    }
    assert {"HttpApi", "SocketApi", "EdgeSocketPath"} <= graph["EdgeDistribution"]
    assert "ApiFunction" in graph["HttpApi"]  # from its body, which could close a cycle
    assert len(list(TopologicalSorter(graph).static_order())) == len(resources)


# ------------------------------------------------------------------------------------------ traffic


def test_sockets_get_their_paths_and_the_http_api_the_rest() -> None:
    api = "execute-api.us-east-1.amazonaws.com"
    origins = {one["Id"]: T.resolve(one["DomainName"]) for one in DISTRIBUTION["Origins"]}
    assert origins == {"http": f"HttpApi.{api}", "socket": f"SocketApi.{api}"}
    assert DISTRIBUTION["DefaultCacheBehavior"]["TargetOriginId"] == "http"
    sockets = {one["PathPattern"]: one["TargetOriginId"] for one in DISTRIBUTION["CacheBehaviors"]}
    assert sockets == {"/ws": "socket", "/api/ws/*": "socket", "/api/*.*.*/sync": "socket"}


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


def test_every_method_of_the_api_passes_and_only_reads_are_cached() -> None:
    behavior = DISTRIBUTION["DefaultCacheBehavior"]
    assert {"GET", "HEAD", "OPTIONS", "POST", "DELETE"} <= set(behavior["AllowedMethods"])
    assert behavior["CachedMethods"] == ["GET", "HEAD"]


def test_nothing_is_sent_without_tls() -> None:
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


def test_only_answers_that_the_api_marks_cacheable_are_cached() -> None:
    policy = T.resources["EdgeCachePolicy"]["Properties"]["CachePolicyConfig"]
    assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 0)
    assert 0 < policy["MaxTTL"] <= 5


def test_every_path_through_the_edge_forwards_the_country() -> None:
    """A cache policy that caches nothing has no headers in its key, so it forwards no country."""
    for behavior in BEHAVIORS:
        assert T.resolve(behavior["CachePolicyId"]) == "EdgeCachePolicy"


def test_errors_are_not_cached() -> None:
    kept = {one["ErrorCode"]: one for one in DISTRIBUTION["CustomErrorResponses"]}
    assert set(kept) >= ERRORS_CACHED_BY_DEFAULT
    for error in kept.values():
        assert error["ErrorCachingMinTTL"] == 0
        assert "ResponsePagePath" not in error


@pytest.mark.parametrize("cookie", ["", "session"])
def test_every_place_of_a_token_is_in_the_cache_key(cookie: str) -> None:
    key = key_of_cached_answers(Settings=f"token-cookie={cookie}" if cookie else "")
    assert "Authorization" in key["HeadersConfig"]["Headers"]
    assert key["QueryStringsConfig"] == {"QueryStringBehavior": "all"}
    assert key["CookiesConfig"].get("Cookies", []) == ([cookie] if cookie else [])
    assert key["CookiesConfig"]["CookieBehavior"] == ("whitelist" if cookie else "none")


def test_a_page_gets_no_answer_cached_for_another_origin() -> None:
    assert "Origin" in key_of_cached_answers()["HeadersConfig"]["Headers"]


def test_the_apis_get_every_header_except_the_host_and_also_the_country() -> None:
    for behavior in BEHAVIORS:
        assert behavior["OriginRequestPolicyId"] == ALL_VIEWER_EXCEPT_HOST_HEADER
    headers = key_of_cached_answers()["HeadersConfig"]
    assert headers["HeaderBehavior"] == "whitelist"
    assert "CloudFront-Viewer-Country" in headers["Headers"]
    assert "Host" not in headers["Headers"]
