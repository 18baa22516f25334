"""People: where they are, and when they were last seen."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from headcount.errors import MethodNotAllowedError, NotFoundError
from headcount.model.access import Action, Scope, require_caller, require_person
from headcount.model.beat import MAX_IDENTIFIER
from headcount.model.people import MOST_PEOPLE, NOT_KNOWN, check_people, check_person
from headcount.web.bodies import CONTROLS, Message, Rule, parse
from headcount.web.calls import Call
from headcount.web.http import respond_error
from headcount.web.routing import Route, Who

if TYPE_CHECKING:
    from headcount.usecases.people import PeopleReader
    from headcount.web import answers

shape_error = respond_error

_ANSWERS = "headcount.web.answers:"


_KEY = {"pattern": f"^[ucvs]:[^{CONTROLS}]+$", "maxLength": len("u:") + MAX_IDENTIFIER}
_Key = Annotated[str, Rule(lambda value: value, _KEY)]  # ``check_people`` says what is wrong


class PeopleToFind(Message):
    """People by their keys: ``u:<userId>`` if a token proved it, ``c:<userId>`` if it is only
    claimed, ``v:<visitorId>``, ``s:<sessionId>``."""

    people: Annotated[list[_Key], Field(min_length=1, max_length=MOST_PEOPLE)]


def person(call: Call) -> answers.FoundPerson:
    """Where a person is now, and when they were last seen, for seven days."""
    if call.params["person"] == "lookup":
        raise MethodNotAllowedError(call.request.method, call.request.path, ["POST"])
    key = check_person(call.params["person"])
    require_person(call.authenticate(), key)
    (found,) = _reader(call).find([key])
    return {"success": True, **found}


def lookup(call: Call) -> answers.FoundPeople:
    """Look up to 100 people up, in the order of the list."""
    caller = require_caller(call.authenticate())
    body = parse(PeopleToFind, call.request.json(), '{"people": ["u:ada"]}')
    keys = check_people(body.people)
    for key in keys:
        require_person(caller, key)
    return {"success": True, "people": _reader(call).find(keys)}


def _reader(call: Call) -> PeopleReader:
    reader = call.services.people_reader
    if reader is None:
        raise NotFoundError(NOT_KNOWN)
    return reader


ROUTES = [
    Route(
        "POST",
        "/v1/people/lookup",
        lookup,
        Who.SEEING,
        _ANSWERS + "FoundPeople",
        body=PeopleToFind,
        errors=[401, 403, 404],
        needs=Scope(Action.PEOPLE, "<person>"),
    ),
    Route(
        "GET",
        "/v1/people/<person>",
        person,
        Who.SEEING,
        _ANSWERS + "FoundPerson",
        errors=[400, 401, 403, 404],
        needs=Scope(Action.PEOPLE, "<person>"),
    ),
]
