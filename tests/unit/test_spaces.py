"""Kinds and spaces: declarations and refusals."""

from __future__ import annotations

import pytest
from headcount.errors import InvalidRequestError
from headcount.model.space import RESERVED_NAMES, Kind, Kinds, shard_of
from headcount.store.counts import KEY_ATTRIBUTES
from msgspec.structs import replace

from lab.harness.template import template


def test_a_bare_word_is_a_kind_with_every_default() -> None:
    engagement = ("chat", "reaction", "share")
    assert list(Kinds("doc")) == [
        Kind(
            "doc",
            lease=60,
            hidden_lease=180,
            beat=30,
            hidden_beat=60,
            names="admin",
            engagement=engagement,
        )
    ]


def test_every_setting_is_read() -> None:
    text = (
        "room:lease=90,hidden=600,beat=20,hidden-beat=120,counts=public,names=users,"
        "engagement=poll+hand,accuracy=0.5%"
    )
    kind = Kind(
        "room",
        lease=90,
        hidden_lease=600,
        beat=20,
        hidden_beat=120,
        fixed=frozenset({"lease", "hidden", "beat", "hidden-beat"}),
        accuracy=0.5,
        counts_are_public=True,
        names="users",
        engagement=("poll", "hand"),
    )
    assert list(Kinds(text)) == [replace(kind, messages_are_public=True)]
    (silent,) = Kinds(f"{text},messages=admin")
    assert silent == kind, "by default, messages are for those who may read the counts"


def test_a_hidden_tabs_lease_is_never_shorter_than_a_visible_ones() -> None:
    kind = Kinds("room:lease=600,beat=90").kind("room")
    assert (kind.lease_for("hidden"), kind.beat_for("hidden")) == (600, 90)
    assert (kind.lease_for("active"), kind.beat_for("active")) == (600, 90)


def test_the_templates_kinds_are_the_ones_of_the_five_systems() -> None:
    kinds = Kinds(template().defaults["Kinds"])
    assert kinds.names == ["activity", "course", "link", "site", "stream"]
    assert {kind.name: kind.lease for kind in kinds} == {
        "activity": 600,
        "course": 60,
        "link": 300,
        "site": 60,
        "stream": 60,
    }
    assert not kinds.kind("activity").counts_are_public


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "at least one kind"),
        ("Site", "is not a kind"),
        ("1st", "is not a kind"),
        ("a" * 33, "is not a kind"),
        (":lease=1", "is not a kind"),
        ("site:leese=1", "unknown setting 'leese'"),
        ("site:lease=0", "lease must be"),
        ("site:lease=-1", "lease must be"),
        ("site:lease=", "lease must be"),
        ("site:lease=1.5", "lease must be"),
        ("site:lease=86401", "lease must be"),
        ("site:beat=x", "beat must be"),
        ("site:hidden-beat=0", "hidden-beat must be"),
        ("site:counts=all", "public or admin"),
        ("site site:lease=5", "twice"),
        ("site:public", "public"),
        ("site:lease60", "lease60"),
        ("site:engagement=chat+ttl", "engagement can't be called 'ttl'"),
        ("site:ids=", "ids must be"),
        ("site:ids=main++blog", "ids must be"),
        ("site:ids=a/b", "ids must be"),
        ("site:ids=" + "x" * 129, "ids must be"),
    ],
)
def test_a_bad_setting_is_refused_at_start_with_its_name(text: str, hint: str) -> None:
    with pytest.raises(ValueError, match=hint):
        Kinds(text)


@pytest.mark.parametrize("text", ["site:main", "site:" + "x" * 128, "site:aZ9._~@:+-"])
def test_a_space_is_kind_and_id(text: str) -> None:
    space = Kinds("site").space(text)
    assert (space.id, space.kind.name) == (text, "site")


@pytest.mark.parametrize(
    "text",
    [
        *("", "site", "site:", "site:" + "x" * 129, "site:a b", "site:a#1", "site:a/b", "site:é"),
        *("site:a\n", "SITE:a", ":a", "a" * 33 + ":a"),
    ],
)
def test_an_invalid_space_is_refused_with_the_format(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="kind:id"):
        Kinds("site").space(text)


def test_an_undeclared_kind_is_refused_with_the_declared_ones() -> None:
    with pytest.raises(InvalidRequestError, match="Use one of: link, site") as raised:
        Kinds("site link").space("invented:1")
    assert "make run KINDS=invented:counts=public on your machine" in str(raised.value)


def test_an_engagement_must_not_have_the_name_of_its_rows_attribute() -> None:
    assert {*KEY_ATTRIBUTES} == RESERVED_NAMES


def test_a_kind_with_declared_ids_has_no_others() -> None:
    kinds = Kinds("site:ids=main+blog,lease=90 doc")
    assert kinds.space("site:main").kind == kinds.space("site:blog").kind == kinds.kind("site")
    for id_ in ("other", "main2", "Main", "main+blog", "m"):
        with pytest.raises(InvalidRequestError, match="Use site:main or site:blog\\."):
            kinds.space(f"site:{id_}")
    assert kinds.space("doc:anything").id == "doc:anything"


def test_of_many_declared_ids_a_refusal_names_a_few() -> None:
    ids = "+".join(f"s{number}" for number in range(9))
    with pytest.raises(InvalidRequestError) as refused:
        Kinds(f"site:ids={ids}").space("site:main")
    assert "site:s4 or another that the Kinds parameter names." in refused.value.message
    assert "site:s5" not in refused.value.message


def test_a_refusal_repeats_no_kind_that_could_be_markup() -> None:
    with pytest.raises(InvalidRequestError) as refused:
        Kinds("site").kind("<script>")
    assert "<script>" not in refused.value.message


def test_shards_are_the_same_on_every_machine_and_release() -> None:
    assert [shard_of(f"v:{number}", 4) for number in range(8)] == [1, 0, 1, 2, 3, 0, 1, 2]
    assert shard_of("anybody", 1) == 0


def test_people_spread_evenly_over_shards() -> None:
    counts = [0] * 8
    for number in range(8_000):
        counts[shard_of(f"u:{number}", 8)] += 1
    assert max(counts) < 1.15 * min(counts)
