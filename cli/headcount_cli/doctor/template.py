"""Resolves a deployed template with the names of its resources in AWS."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any


class Unknown:
    """A value that can't be derived here. What contains it is not compared."""

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN = Unknown()
_NO_VALUE = object()


class Resolver:
    """Evaluates intrinsic functions. ``ref`` and ``attribute`` look up the stack's resources.

    Both return UNKNOWN if they can't; a text or list with an UNKNOWN part is UNKNOWN.
    """

    def __init__(
        self,
        template: Mapping[str, Any],
        parameters: Mapping[str, str],
        ref: Callable[[str], Any],
        attribute: Callable[[str, str], Any],
    ) -> None:
        self._conditions = template.get("Conditions", {})
        self._parameters = parameters
        self._ref, self._attribute = ref, attribute

    def resolve(self, value: Any) -> Any:
        """A value without intrinsic functions."""
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not _NO_VALUE]
        if not isinstance(value, Mapping):
            return value
        if len(value) == 1:
            ((name, inner),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._function(name, inner)
        resolved = {key: self.resolve(one) for key, one in value.items()}
        return {key: one for key, one in resolved.items() if one is not _NO_VALUE}

    def holds(self, name: str | None) -> bool:
        """Whether a condition holds. True without a condition."""
        return name is None or self._holds({"Condition": name})

    def _function(self, name: str, inner: Any) -> Any:
        match name:
            case "Ref":
                return self._named(inner)
            case "Fn::GetAtt":
                logical_id, attribute = inner.split(".", 1) if isinstance(inner, str) else inner
                return self._attribute(logical_id, attribute)
            case "Fn::Sub":
                text, given = (inner, {}) if isinstance(inner, str) else inner
                return self._sub(text, {key: self.resolve(one) for key, one in given.items()})
            case "Fn::If":
                condition, yes, no = inner
                return self.resolve(yes if self.holds(condition) else no)
            case "Fn::Join" | "Fn::Split" | "Fn::Select":
                return _of_list(name, inner[0], self.resolve(inner[1]))
        return UNKNOWN

    def _named(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return _NO_VALUE
        return self._parameters[name] if name in self._parameters else self._ref(name)

    def _sub(self, text: str, given: Mapping[str, Any]) -> Any:
        values: list[Any] = []

        def put(match: re.Match[str]) -> str:
            name = match[1]
            if name.startswith("!"):
                return f"${{{name[1:]}}}"
            if name in given:
                value = given[name]
            elif "." in name:
                value = self._attribute(*name.split(".", 1))
            else:
                value = self._named(name)
            values.append(value)
            return str(value)

        done = re.sub(r"\$\{([^}]+)\}", put, text)
        return UNKNOWN if UNKNOWN in values else done

    def _holds(self, condition: Mapping[str, Any]) -> bool:
        ((name, inner),) = condition.items()
        match name:
            case "Condition":
                return self._holds(self._conditions[inner])
            case "Fn::Not":
                return not self._holds(inner[0])
            case "Fn::And":
                return all(map(self._holds, inner))
            case "Fn::Or":
                return any(map(self._holds, inner))
            case "Fn::Equals":
                return bool(self.resolve(inner[0]) == self.resolve(inner[1]))
        raise ValueError(f"unknown condition {name}")


def _of_list(name: str, how: Any, value: Any) -> Any:
    """Fn::Join, Fn::Split and Fn::Select."""
    if value is UNKNOWN or (isinstance(value, list) and UNKNOWN in value):
        return UNKNOWN
    if name == "Fn::Join":
        return str(how).join(map(str, value))
    return str(value).split(how) if name == "Fn::Split" else value[int(how)]
