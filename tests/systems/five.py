"""All five systems at once, by their own protocols; each one's numbers equal the native ones.

Runs in process and against a running stack alike: the caller passes a function to send requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote

DESKTOP = "Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0"
PHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) Mobile/15E148 Safari/604.1"


class Calls(Protocol):
    """Send a request that must succeed; returns the decoded body."""

    def __call__(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        admin: bool = False,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Any: ...


@dataclass(frozen=True)
class Five:
    """Five systems in use. ``run`` makes the names of this run's spaces."""

    call: Calls
    run: str

    @property
    def course(self) -> str:
        return f"course-{self.run}"

    @property
    def link(self) -> str:
        return f"link-{self.run}"

    @property
    def stream(self) -> str:
        return f"stream-{self.run}"

    @property
    def spaces(self) -> dict[str, str]:
        """System -> its space."""
        return {
            "live activity": "activity:main",
            "course viewers": f"course:{self.course}",
            "link analytics": f"link:{self.link}",
            "stream analytics": f"stream:{self.stream}",
            "site traffic": "site:main",
        }

    # ------------------------------------------------------------------------------------ driving

    def arrive(self) -> None:
        """Everyone joins and is active."""
        for number in range(6):
            self.activity(number)
        self.activity(5, title="Another", content="c2")  # moves on to something else
        for user, chapter in (("ada", "ch1"), ("bob", "ch1"), ("cyd", "ch2"), ("ada", "ch2")):
            self.convex("recordPresence", courseId=self.course, userId=user, chapterId=chapter)
        path = f"/api/courses/{self.course}/presence"
        self.call("POST", path, body={"userId": "dee", "userName": "Dee", "chapterId": "ch2"})
        for number in range(4):
            self.linked("join", number, fingerprint=f"f{number}", currentPage=1)
        self.linked("join", 0, fingerprint="f0", currentPage=1)  # again: the same view
        self.linked("heartbeat", 1, currentPage=3)
        self.call("POST", f"/api/streams/{self.stream}/start", admin=True)
        for number in range(3):
            self.watch(number, chat=number)
        events = f"/api/v1/analytics/streams/{self.stream}/events"
        self.call("POST", events, body={"type": "chat", "count": 5}, admin=True)
        self.call("POST", events, body={"type": "share"}, admin=True)
        self.call("POST", events, body={"type": "revenue", "amount": 12.5}, admin=True)
        for number in range(5):
            self.visit(number, page="/a" if number < 3 else "/b")
        self.visit(0, page="/b")

    def depart(self) -> None:
        """Most leave with their clients' requests; one stays in each system."""
        for number in range(1, 6):
            query = {"id": f"live_{self.run}_u_{number}_{self.run}-a{number}"}
            self.call("DELETE", "/api/analytics/live-activity", query=query)
        for user in ("bob", "cyd", "dee"):
            self.convex("removePresence", courseId=self.course, userId=user)
        for number, seconds in ((1, 30), (2, 60), (3, 90)):
            self.linked("leave", number, duration=seconds)
        for number in range(1, 3):
            self.native(f"stream:{self.stream}", "DELETE", f"{self.run}-w{number}")
        for number in range(1, 5):
            self.native("site:main", "DELETE", f"{self.run}-s{number}")

    def activity(self, number: int, *, title: str = "Example", content: str = "c1") -> None:
        watching = {
            "activityType": "watching",
            "contentId": f"{self.run}-{content}",
            "contentTitle": title,
            "contentType": "movie",
            "currentPosition": 10 * number,
            "duration": 3600,
        }
        browsing = {"activityType": "browsing"}
        who = {"userId": f"{self.run}_u_{number}", "sessionId": f"{self.run}-a{number}"}
        self.call(
            "POST",
            "/api/analytics/live-activity",
            body={**who, **(browsing if number == 0 else watching), "country": "IS"},
            headers={"user-agent": PHONE if number % 2 else DESKTOP},
        )

    def convex(self, function: str, **args: Any) -> Any:
        kind = "query" if function.startswith("get") else "mutation"
        body = {
            "path": f"liveViewers:{function}",
            "format": "convex_encoded_json",
            "args": [args],
        }
        return self.call("POST", f"/api/{kind}", body=body, admin=True)["value"]

    def linked(self, action: str, number: int, **fields: Any) -> None:
        body = {"action": action, "sessionId": f"{self.run}-l{number}", **fields}
        answer = self.call("POST", f"/api/send/realtime/{self.link}", body=body)
        assert answer == {"success": True}

    def watch(self, number: int, *, chat: int) -> None:
        self.native(
            f"stream:{self.stream}",
            "POST",
            f"{self.run}-w{number}",
            quality={"bandwidth": 4 + number, "errors": number},
            engagement={"chat": chat},
            facets={"device": "tv", "country": "FI"},
        )

    def visit(self, number: int, *, page: str) -> None:
        row = {
            "session_id": f"{self.run}-s{number}",
            "user_id": f"{self.run}-user" if number < 2 else None,
            "page_path": f"/{self.run}{page}",
        }
        self.call("POST", "/rest/v1/heartbeats", body=row, headers={"apikey": "anon"})

    def native(self, space: str, method: str, session: str, **fields: Any) -> None:
        path = f"/v1/spaces/{quote(space, safe='')}/presence"
        if method == "DELETE":
            self.call("DELETE", path, query={"sessionId": session})
        else:
            self.call("POST", path, body={"sessionId": session, **fields})

    # ------------------------------------------------------------------------------------ reading

    def headcount(self, system: str) -> Any:
        """The native numbers of a system's space."""
        return self.call("GET", f"/v1/spaces/{quote(self.spaces[system], safe='')}", admin=True)

    def today(self, system: str) -> Any:
        """The native row of today."""
        path = f"/v1/spaces/{quote(self.spaces[system], safe='')}/days"
        return self.call("GET", path, admin=True)["days"][-1]

    def reconcile(self) -> None:
        """Each system's numbers are the native ones, under its own names."""
        self._live_activity()
        self._course_viewers()
        self._link_analytics()
        self._stream_analytics()
        self._site_traffic()

    def _live_activity(self) -> None:
        native = self.headcount("live activity")
        stats = self.call("GET", "/api/analytics/live-activity", admin=True)["stats"]
        assert stats["totalActive"] == native["sessions"] == native["people"]
        activity = sessions_by(native, "activity")
        assert stats["watching"] == activity.get("watching", 0)
        assert stats["browsing"] == activity.get("browsing", 0)
        assert stats["byDevice"] == sessions_by(native, "device")
        assert stats["byCountry"] == sessions_by(native, "country")
        content = sessions_by(native, "content")
        assert {one["contentId"]: one["count"] for one in stats["topContent"]} == content

    def _course_viewers(self) -> None:
        native = self.headcount("course viewers")
        count = self.convex("getLiveViewerCount", courseId=self.course)
        assert count == {"total": native["people"], "byChapter": people_by(native, "chapter")}
        path = f"/api/courses/{self.course}/viewers"
        assert self.call("GET", f"{path}/count") == {"success": True, **count}
        listed = self.call("GET", path, admin=True)
        assert len(listed["viewers"]) == listed["total"] == native["people"]

    def _link_analytics(self) -> None:
        native = self.headcount("link analytics")
        answer = self.call("GET", f"/api/send/realtime/{self.link}", admin=True)
        views = native["views"]
        assert answer["metrics"] == {
            "activeViewers": native["sessions"],
            "totalViews": views["total"],
            "viewsToday": views["today"],
            "viewsThisWeek": views["week"],
            "viewsThisMonth": views["month"],
            "peakConcurrentViewers": native["peakSessions"],
            "avgViewDuration": native["avgSeconds"] or 0,
        }
        assert len(answer["activeViewers"]) == native["sessions"]

    def _stream_analytics(self) -> None:
        native = self.headcount("stream analytics")
        analytics = "/api/v1/analytics"
        metrics = self.call("GET", f"{analytics}/streams/{self.stream}/metrics", admin=True)
        state = self.call("GET", f"{analytics}/real-time/{self.stream}", admin=True)
        assert metrics["currentViewers"] == state["currentViewers"] == native["people"]
        assert metrics["peakViewers"] == native["peak"]["people"]
        assert metrics["totalViews"] == native["views"]["total"]
        assert metrics["avgViewDuration"] == native["avgSeconds"]
        assert metrics["chatMessages"] == native["engagement"]["chat"]
        assert metrics["bandwidth"] == native["quality"]["bandwidth"]["mean"]
        assert state["shares"] == native["engagement"]["share"]
        assert state["deviceDistribution"] == people_by(native, "device")
        assert state["geographicDistribution"] == people_by(native, "country")
        (stream,) = [
            one
            for one in self.call("GET", "/api/streams", admin=True)["streams"]
            if one["id"] == self.stream
        ]
        assert stream["currentViewers"] == native["people"]

    def _site_traffic(self) -> None:
        native = self.headcount("site traffic")
        (live,) = self.call("POST", "/rest/v1/rpc/get_live_traffic", body={}, admin=True)
        assert live["active_users"] == native["signedIn"]
        assert live["active_sessions"] == native["sessions"]
        assert live["authenticated_users"] == native["signedInSessions"]
        assert live["anonymous_sessions"] == native["anonymousSessions"]
        pages = sessions_by(native, "page")
        for one in live["top_pages"] or []:
            assert one["count"] == pages[one["path"]]
        day = self.today("site traffic")
        (daily,) = self.call("POST", "/rest/v1/rpc/get_daily_active_users", body={}, admin=True)
        assert daily == {
            "unique_sessions": day["uniqueSessions"],
            "unique_users": day["uniqueUsers"],
            "total_heartbeats": day["beats"],
        }
        rest = self.call("GET", "/api/traffic/daily", admin=True)
        assert rest["uniqueActiveUsers"] == day["uniquePeople"]


def sessions_by(headcount: Any, facet: str) -> dict[str, int]:
    """value -> sessions."""
    return {one["value"]: one["count"] for one in headcount["facets"].get(facet, [])}


def people_by(headcount: Any, facet: str) -> dict[str, int]:
    """value -> people."""
    return {one["value"]: one["people"] for one in headcount["facets"].get(facet, [])}
