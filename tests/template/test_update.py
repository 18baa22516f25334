"""An update from any release keeps its tables, queues, secrets, logs and addresses."""

from __future__ import annotations

import json
from copy import deepcopy
from typing import Any

import pytest

from lab.harness.template import ROOT, Template, template, translated
from tests.template.released import facts, releases, replaced

T = template()
RELEASES = releases()
# SAM used to name these; now the template does, because an alias may replace the function.
ONCE_MADE_BY_SAM = {"ApiFunctionEverythingPermission"}


def changed(**of: Any) -> dict[str, Any]:
    """The template's facts after other properties of a resource."""
    document = deepcopy(T.document)
    for name, properties in of.items():
        document["Resources"][name]["Properties"] |= properties
    return facts(Template(document))


@pytest.mark.parametrize("release", sorted(RELEASES))
def test_nothing_that_holds_data_is_replaced_or_deleted(release: str) -> None:
    assert list(replaced(RELEASES[release], facts(T))) == []


def test_the_releases_have_tables_to_keep() -> None:
    for release, kept in RELEASES.items():
        tables = [one for one in kept.values() if one["Type"] == "AWS::DynamoDB::Table"]
        assert len(tables) >= 6, release


RANGE = {"AttributeName": "other", "KeyType": "RANGE"}


@pytest.mark.parametrize(
    ("name", "properties", "says"),
    [
        (
            "PresenceTable",
            {"KeySchema": [T.tables["presence"]["KeySchema"][0], RANGE]},
            "PresenceTable: KeySchema was",
        ),
        ("HistoryTable", {"TableName": "history"}, "HistoryTable: TableName is new"),
        ("CountsTable", {"BillingMode": "PROVISIONED"}, "CountsTable: BillingMode was"),
        (
            "CountsTable",
            {"StreamSpecification": {"StreamViewType": "NEW_IMAGE"}},
            "CountsTable: Stream was",
        ),
        ("HeadcountsTable", {"GlobalSecondaryIndexes": []}, "HeadcountsTable: Indexes was"),
        (
            "VisitsTable",
            {
                "AttributeDefinitions": [
                    {"AttributeName": "space_day", "AttributeType": "N"},
                    {"AttributeName": "visit", "AttributeType": "S"},
                ]
            },
            "VisitsTable: Attributes was",
        ),
        ("DeadLetters", {"FifoQueue": True}, "DeadLetters: FifoQueue is new"),
        ("ApiLogs", {"LogGroupName": "api"}, "ApiLogs: LogGroupName was"),
        (
            "MadeTokenSecret",
            {"GenerateSecretString": {"PasswordLength": 32}},
            "MadeTokenSecret: GenerateSecretString was",
        ),
    ],
)
def test_a_change_that_would_replace_something_is_noticed(
    name: str, properties: dict[str, Any], says: str
) -> None:
    found = list(replaced(RELEASES["previous"], changed(**{name: properties})))
    assert [one for one in found if one.startswith(says)]


def test_a_table_under_another_name_is_noticed() -> None:
    document = deepcopy(T.document)
    document["Resources"]["Visits"] = document["Resources"].pop("VisitsTable")
    document = json.loads(json.dumps(document).replace('"VisitsTable"', '"Visits"'))
    assert list(replaced(RELEASES["previous"], facts(Template(document)))) == [
        "VisitsTable is deleted"
    ]


def test_changes_that_need_no_new_table_are_allowed() -> None:
    point_in_time = {"PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": True}}
    stream = {"StreamSpecification": {"StreamViewType": "NEW_IMAGE"}}
    now = changed(VisitsTable=point_in_time | stream, CountsTable=point_in_time)
    assert list(replaced(RELEASES["previous"], now)) == []


def test_resources_that_sam_named_keep_their_names() -> None:
    assert set(translated()["Resources"]) >= ONCE_MADE_BY_SAM


# --------------------------------------------------------------------------------- tables that stay

HISTORY = {"CountsTable", "HeadcountsTable", "VisitsTable", "HistoryTable", "StreamsTable"}


def tables() -> dict[str, Any]:
    """Every table as a whole resource."""
    return {name: one for name, one in T.resources.items() if one["Type"] == "AWS::DynamoDB::Table"}


def test_tables_with_history_can_outlive_the_stack() -> None:
    for name, table in tables().items():
        kept = T.resolve(table["Properties"], ProtectTables="true")
        assert kept.get("DeletionProtectionEnabled") == ("true" if name in HISTORY else None)
        assert T.resolve(table["Properties"]).get("DeletionProtectionEnabled") in {None, "false"}


def test_the_tables_that_are_backed_up_are_those_that_can_be_protected() -> None:
    backed_up = {
        name for name, one in tables().items() if "PointInTimeRecoverySpecification" in str(one)
    }
    assert backed_up == HISTORY


def test_no_update_deletes_the_rows_of_a_table() -> None:
    assert {one["UpdateReplacePolicy"] for one in tables().values()} == {"Retain"}
    # A deleted trial stack leaves nothing behind unless its tables are protected.
    assert {one["DeletionPolicy"] for one in tables().values()} == {"Delete"}


def test_the_stack_policy_denies_replacing_and_deleting_resources_with_data() -> None:
    policy = json.loads((ROOT / "stack-policy.json").read_text())
    allowed, denied = policy["Statement"]
    assert allowed == {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "Update:*",
        "Resource": "*",
    }
    assert (denied["Effect"], denied["Principal"]) == ("Deny", "*")
    assert denied["Action"] == ["Update:Replace", "Update:Delete"]
    secrets = {
        name for name, one in T.resources.items() if one["Type"] == "AWS::SecretsManager::Secret"
    }
    kept = {*tables()} - {"PeopleTable"}  # people=off deletes it
    held = {f"LogicalResourceId/{name}" for name in {*kept, *secrets, "HttpApi", "SocketApi"}}
    assert set(denied["Resource"]) == held
