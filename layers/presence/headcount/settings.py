"""A function's settings, from its environment: a missing name fails on first use."""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING

from headcount.model.space import Kinds

if TYPE_CHECKING:
    from headcount.auth.discovery import SignIn
    from headcount.auth.tokens import TokenSettings
    from headcount.model.container import Fleet
    from headcount.model.pushes import PushBudget
    from headcount.model.rollups import RollUps

_PARTS_PER_SHARD, _MOST_PARTS = 4, 64
"""A part takes 1,000 joins and leaves a second, a shard as many beats."""


class Settings:
    """The environment, with names and types. A function reads only what the template gives it."""

    def __init__(self, environ: os._Environ[str] | dict[str, str]) -> None:
        self.environ = environ

    def table(self, role: str) -> str:
        """The name of the table with that role: presence, counts, headcounts, ..."""
        return self.environ[f"{role.upper()}_TABLE"]

    @property
    def knows_people(self) -> bool:
        """Whether people can be looked up."""
        return bool(self.environ.get("PEOPLE_TABLE"))

    @cached_property
    def kinds(self) -> Kinds:
        """The declared kinds of space."""
        return Kinds(self.environ["KINDS"])

    @property
    def shards(self) -> int:
        """Shards per space."""
        return int(self.environ["SHARDS_PER_SPACE"])

    @cached_property
    def rollups(self) -> RollUps:
        """The declared roll-ups."""
        from headcount.model.rollups import RollUps

        return RollUps(self.environ.get("ROLL_UPS", "").partition(" ")[2], self.kinds)

    @property
    def parts(self) -> int:
        """Parts of the index of people; 0: there are no roll-ups."""
        shards = self.environ.get("ROLL_UPS", "").partition(" ")[0]
        return min(_MOST_PARTS, _PARTS_PER_SHARD * int(shards or 0))

    @property
    def tokens(self) -> TokenSettings:
        """How tokens are checked."""
        from headcount.auth.tokens import TokenSettings

        return TokenSettings(
            admin_claim=self._setting("admin-claim", "headcount=admin"),
            jwks_url=self.environ["JWKS_URL"],
            issuer=self.environ["TOKEN_ISSUER"],
            audience=self.environ["TOKEN_AUDIENCE"],
            scope_claim=self._setting("scope-claim", "headcount_scopes"),
        )

    @property
    def sign_in(self) -> SignIn | None:
        """How people sign in to the dashboard; None: with a token only."""
        from headcount.auth.discovery import SignIn

        client, asked = self._setting("sign-in-client"), self._setting("sign-in-audience", "none")
        issuer, audience = self.environ["TOKEN_ISSUER"], self.environ["TOKEN_AUDIENCE"]
        if not client:
            return None
        return SignIn(
            issuer=issuer,
            client=client,
            scopes=self._setting("sign-in-scopes", "openid").replace("+", " "),
            token=self._setting("sign-in-token", "access"),
            audience=(asked, audience) if audience and asked != "none" else None,
        )

    @property
    def token_secret(self) -> str:
        """The ARN of the shared secret; empty if a key set is used."""
        return self.environ["TOKEN_SECRET"]

    @property
    def token_cookie(self) -> str:
        """The cookie that may carry a token; empty for none."""
        return self._setting("token-cookie")

    @cached_property
    def avatar_hosts(self) -> frozenset[str]:
        """The hosts of pictures that people without a token may show; ``*`` for any."""
        return frozenset(_ids(self._setting("avatar-hosts").lower()))

    @property
    def require_verified_users(self) -> bool:
        """Whether a token must prove each userId."""
        return self.environ["REQUIRE_VERIFIED_USERS"] == "true"

    @property
    def beats_per_session(self) -> int:
        """Messages accepted per session in 10 seconds; 0: any number."""
        return self._limit("beats-per-session", 20)

    @property
    def joins_per_source(self) -> int:
        """New sessions accepted from a network in a minute; 0: any number."""
        return self._limit("joins-per-source", 600)

    @property
    def spaces_per_kind(self) -> int:
        """New spaces of a kind accepted in a minute; 0: any number."""
        return self._limit("spaces-per-kind", 200)

    @property
    def edge_key(self) -> str:
        """What the edge proves itself by: a name that only the deployment knows."""
        return self.table("presence")

    @property
    def allowed_origins(self) -> list[str]:
        """The origins whose pages may call the API; ``*`` for any."""
        return [one for one in self.environ["ALLOWED_ORIGINS"].replace(",", " ").split() if one]

    @property
    def socket_endpoint(self) -> str:
        """The management endpoint of the WebSocket API; an emulator has it below its own."""
        endpoint = self.environ["SOCKET_ENDPOINT"]
        return f"{self.environ['AWS_ENDPOINT_URL']}{endpoint}" if endpoint[0] == "/" else endpoint

    @property
    def fanout_queue(self) -> str:
        """The URL of the queue for large fan-outs."""
        return self.environ["FANOUT_QUEUE"]

    @property
    def deferred_queue(self) -> str:
        """The URL of the queue for deferred work."""
        return self.environ["DEFERRED_QUEUE"]

    @property
    def closing_queue(self) -> str:
        """The URL of the queue for connections to close."""
        return self.environ["CLOSING_QUEUE"]

    @property
    def erasure_queue(self) -> str:
        """The URL of the queue for erasures."""
        return self.environ["ERASURE_QUEUE"]

    @property
    def piece_queue(self) -> str:
        """The URL of the queue for parts of sweeps and days."""
        return self.environ["PIECE_QUEUE"]

    def queue_of(self, arn: str) -> str:
        """The URL of the queue with that ARN. KeyError if this function does not know it."""
        name = arn.rpartition(":")[2]
        urls = {
            url.rpartition("/")[2]: url
            for variable, url in self.environ.items()
            if variable.endswith("_QUEUE")
        }
        return urls[name]

    @property
    def alert_topic(self) -> str:
        """The ARN of the SNS topic that alerts go to; empty for none."""
        return self.environ["ALERT_TOPIC"]

    @property
    def lake(self) -> str:
        """The bucket, and the prefix if any, that days are exported to; empty for none."""
        return self._setting("lake")

    @property
    def event_bus(self) -> str:
        """The name of the EventBridge bus that events go to; empty for none."""
        return self.environ["EVENT_BUS"]

    @property
    def webhook_url(self) -> str:
        """The URL that events are posted to."""
        return self.environ["WEBHOOK_URL"]

    @property
    def webhook_secret(self) -> str:
        """The ARN of the secret that signs webhook requests."""
        return self.environ["WEBHOOK_SECRET"]

    @property
    def emulated(self) -> bool:
        """Whether an emulator on this machine takes the place of AWS."""
        return bool(self.environ["AWS_ENDPOINT_URL"])

    @property
    def posts_per_second(self) -> int:
        """Posts to WebSocket connections per second for one process of this function: its share of
        the deployment's limit."""
        return int(self.environ["POSTS_PER_SECOND"]) // int(self.environ["POSTS_SHARED_BY"])

    @property
    def chunked_posts_per_second(self) -> int:
        """Posts per second for all processes of the fan-out: half of the deployment's limit."""
        return int(self.environ["POSTS_PER_SECOND"]) // 2

    @property
    def inline_fanout(self) -> int:
        """The most dashboards of a space to which a version is not sent in chunks."""
        return self._limit("inline-fanout", 200)

    @property
    def push_budget(self) -> PushBudget:
        """How many frames a listener gets at most."""
        from headcount.model.pushes import PushBudget

        return PushBudget(
            per_hour=self._limit("pushes-per-hour", 40), burst=self._limit("push-burst", 20)
        )

    @property
    def fleet(self) -> Fleet:
        """Where containers run, and from which task definition."""
        from headcount.model.container import Fleet

        given = _settings_in(self.environ["CONTAINERS"])
        return Fleet(
            cluster=given.get("cluster", ""),
            task_definition=given.get("task-definition", ""),
            subnets=_ids(given.get("subnets", "")),
            security_groups=_ids(given.get("security-groups", "")),
            assign_public_ip=given.get("public-ip") == "true",
            launch_type=given.get("launch-type", "FARGATE"),
            container_name=given.get("container-name", ""),
        )

    @property
    def timeline_days(self) -> int:
        """Days the minute samples are kept."""
        return self._limit("timeline-days", 30)

    @property
    def day_rows_days(self) -> int:
        """Days the day rows are kept."""
        return self._limit("day-rows-days", 400)

    @property
    def stack(self) -> str:
        """The stack's name: the dimension of its metrics."""
        return self.environ["STACK"]

    @property
    def sweeps_per_minute(self) -> int:
        """Sweeps per minute."""
        return self._limit("sweeps-per-minute", 1)

    def _limit(self, name: str, default: int) -> int:
        return int(_settings_in(self.environ["LIMITS"]).get(name, default))

    def _setting(self, name: str, default: str = "") -> str:
        return _settings_in(self.environ["SETTINGS"]).get(name, default)


@lru_cache(maxsize=8)
def _settings_in(text: str) -> dict[str, str]:
    """Parse ``setting=value,...``, which the template's pattern has checked."""
    return dict(one.split("=", 1) for one in text.split(",") if one)


def _ids(text: str) -> tuple[str, ...]:
    """Split ``subnet-1+subnet-2``."""
    return tuple(filter(None, text.split("+")))
