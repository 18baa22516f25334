"""What a function is told by its environment: read once, missing names fail at once."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from headcount.spaces import Kinds
from headcount.tokens import TokenSettings

if TYPE_CHECKING:
    from headcount.containers import Fleet


@dataclass(frozen=True)
class Settings:
    """The environment, with names. A function reads only what it is given."""

    environ: os._Environ[str] | dict[str, str]

    def table(self, role: str) -> str:
        """The name of the table with that role: presence, counts, headcounts, ..."""
        return self.environ[f"{role.upper()}_TABLE"]

    @cached_property
    def kinds(self) -> Kinds:
        """The declared kinds of spaces."""
        return Kinds(self.environ["KINDS"])

    @property
    def shards(self) -> int:
        """Shards per space."""
        return int(self.environ["SHARDS_PER_SPACE"])

    @property
    def tokens(self) -> TokenSettings:
        """How tokens are checked."""
        return TokenSettings(
            admin_claim=self.environ["ADMIN_CLAIM"],
            jwks_url=self.environ["JWKS_URL"],
            issuer=self.environ["TOKEN_ISSUER"],
            audience=self.environ["TOKEN_AUDIENCE"],
            scope_claim=self.environ["SCOPE_CLAIM"],
        )

    @property
    def token_secret(self) -> str:
        """The ARN of the shared secret; empty with a key set."""
        return self.environ["TOKEN_SECRET"]

    @property
    def token_cookie(self) -> str:
        """The cookie that may carry a token; empty for none."""
        return self.environ["TOKEN_COOKIE"]

    @property
    def require_verified_users(self) -> bool:
        """Whether a userId must be proven by a token."""
        return self.environ["REQUIRE_VERIFIED_USERS"] == "true"

    @property
    def beats_per_session(self) -> int:
        """Messages that are taken of a session in 10 seconds; 0 for any number."""
        return int(self.environ["BEATS_PER_SESSION"])

    @property
    def allowed_origins(self) -> list[str]:
        """The origins whose pages may call the API; ``*`` for any."""
        return [one for one in self.environ["ALLOWED_ORIGINS"].replace(",", " ").split() if one]

    @property
    def socket_endpoint(self) -> str:
        """The management endpoint of the WebSocket API."""
        return self.environ["SOCKET_ENDPOINT"]

    @property
    def fanout_queue(self) -> str:
        """The URL of the queue for large fan-outs."""
        return self.environ["FANOUT_QUEUE"]

    @property
    def errand_queue(self) -> str:
        """The URL of the queue for errands."""
        return self.environ["ERRAND_QUEUE"]

    @property
    def closing_queue(self) -> str:
        """The URL of the queue for connections that must be closed."""
        return self.environ["CLOSING_QUEUE"]

    @property
    def erasure_queue(self) -> str:
        """The URL of the queue for erasures."""
        return self.environ["ERASURE_QUEUE"]

    @property
    def piece_queue(self) -> str:
        """The URL of the queue for pieces of sweeps and days."""
        return self.environ["PIECE_QUEUE"]

    @property
    def alert_topic(self) -> str:
        """The ARN of the SNS topic that alerts go to; empty for none."""
        return self.environ["ALERT_TOPIC"]

    @property
    def event_bus(self) -> str:
        """The name of the EventBridge bus that events go to; empty for none."""
        return self.environ["EVENT_BUS"]

    @property
    def webhook_url(self) -> str:
        """The address that events are posted to."""
        return self.environ["WEBHOOK_URL"]

    @property
    def webhook_secret(self) -> str:
        """The ARN of the secret that posts are signed with."""
        return self.environ["WEBHOOK_SECRET"]

    @property
    def webhook_queue(self) -> str:
        """The URL of the queue of events that are to be posted."""
        return self.environ["WEBHOOK_QUEUE"]

    @property
    def emulated(self) -> bool:
        """Whether an emulator on this machine stands for AWS."""
        return bool(self.environ["AWS_ENDPOINT_URL"])

    @property
    def posts_per_second(self) -> int:
        """Posts to WebSocket connections that one process of this function may make in a second:
        the deployment's, shared by as many."""
        return int(self.environ["POSTS_PER_SECOND"]) // int(self.environ["POSTS_SHARED_BY"])

    @property
    def chunked_posts_per_second(self) -> int:
        """What all of the fan-out's processes may post in a second: a half of the deployment's."""
        return int(self.environ["POSTS_PER_SECOND"]) // 2

    @property
    def inline_fanout(self) -> int:
        """Dashboards of a space above which a version leaves in chunks."""
        return int(self.environ["INLINE_FANOUT"])

    @property
    def fleet(self) -> Fleet:
        """Where containers run and from what."""
        from headcount.containers import Fleet

        return Fleet(
            cluster=self.environ["CONTAINER_CLUSTER"],
            task_definition=self.environ["CONTAINER_TASK_DEFINITION"],
            subnets=_words(self.environ["CONTAINER_SUBNETS"]),
            security_groups=_words(self.environ["CONTAINER_SECURITY_GROUPS"]),
            assign_public_ip=self.environ["CONTAINER_PUBLIC_IP"] == "true",
            launch_type=self.environ["CONTAINER_LAUNCH_TYPE"],
            container_name=self.environ["CONTAINER_NAME"],
        )

    @property
    def timeline_days(self) -> int:
        """Days the minute samples are kept."""
        return int(self.environ["TIMELINE_DAYS"])

    @property
    def day_rows_days(self) -> int:
        """Days the day rows are kept."""
        return int(self.environ["DAY_ROWS_DAYS"])

    @property
    def stack(self) -> str:
        """The stack's name, which tells its metrics from another's."""
        return self.environ["STACK"]

    @property
    def sweeps_per_minute(self) -> int:
        """How often the cleanup sweeps within its minute."""
        return int(self.environ["SWEEPS_PER_MINUTE"])


def _words(text: str) -> tuple[str, ...]:
    """The words of a list that is separated by commas or spaces."""
    return tuple(text.replace(",", " ").split())
