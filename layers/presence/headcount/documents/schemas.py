"""JSON Schemas of the API's bodies and responses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema

from headcount.model.space import ID

Schema = dict[str, Any]

_REF = "#/components/schemas/"


class Schemas:
    """The schemas of what clients send (bodies) and get (answers), under short names."""

    def __init__(self, bodies: Iterable[Any], answers: Iterable[Any]) -> None:
        wanted = [
            *((kind, "validation", TypeAdapter(kind)) for kind in dict.fromkeys(bodies)),
            *((kind, "serialization", TypeAdapter(kind)) for kind in dict.fromkeys(answers)),
        ]
        found, definitions = TypeAdapter.json_schemas(
            wanted,  # type: ignore[arg-type]  # the modes are literals
            ref_template=_REF + "{model}",
            schema_generator=_Plain,
        )
        named = definitions.get("$defs", {})
        names = {long: _short(long) for long in named}
        assert len(set(names.values())) == len(names), "two types share a name"
        self._schemas: dict[Any, Schema] = {
            key: _renamed(schema, names) for key, schema in found.items()
        }
        self.components: dict[str, Schema] = {
            names[long]: _renamed(schema, names) for long, schema in sorted(named.items())
        }

    def of_body(self, kind: Any) -> Schema:
        """The schema of a type that clients send."""
        return self._schemas[kind, "validation"]

    def of_answer(self, kind: Any) -> Schema:
        """The schema of a type that clients get."""
        return self._schemas[kind, "serialization"]


class _Plain(GenerateJsonSchema):
    """Makes schemas without titles of fields, and TypedDicts without undeclared fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - never
        return False

    def typed_dict_schema(self, schema: core_schema.TypedDictSchema) -> Schema:
        return {**super().typed_dict_schema(schema), "additionalProperties": False}


def space_schema(kinds: Sequence[str]) -> Schema:
    """The schema of the id of a space of these kinds."""
    return {
        "type": "string",
        "pattern": f"^({'|'.join(sorted(kinds))}):{ID.pattern}$",
        "example": f"{max(kinds, key=lambda kind: kind == 'site')}:main",
    }


def _short(name: str) -> str:
    """``Viewers``, or ``CourseViewersViewers`` if other systems have a type of that name."""
    *package, kind = (_KNOWN_AS.get(part, part) for part in name.split("__"))
    modules = [part for part in package if part not in _INNER]
    return "".join(word.capitalize() for word in modules[-1].split("_")) + kind if modules else kind


_INNER = {"routes", "bodies", "state", "days"}
"""Modules of a system that is a package, whose name takes their place."""
_KNOWN_AS = {"answers": "native", "BeatMessage": "Beat", "LeaveMessage": "Leave"}
"""The document's names for modules and models."""


def _renamed(schema: Any, names: Mapping[str, str]) -> Any:
    if isinstance(schema, dict):
        return {
            key: _ref(value, names) if key == "$ref" else _renamed(value, names)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_renamed(one, names) for one in schema]
    return schema


def _ref(ref: Any, names: Mapping[str, str]) -> Any:
    return _REF + names[ref.removeprefix(_REF)] if isinstance(ref, str) else ref
