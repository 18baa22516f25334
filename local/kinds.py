"""The kinds of spaces that the local stack declares: the template's, and those in ``KINDS``."""

import sys
from typing import Any

import yaml  # type: ignore[import-untyped]

from local.settings import ROOT, UsageError

sys.path.append(str(ROOT / "layers" / "presence"))

from headcount.model.space import Kinds


class _Template(yaml.SafeLoader):  # type: ignore[misc]
    """Reads a template without its functions, such as !Ref."""


_Template.add_multi_constructor("!", lambda *_: None)


def all_kinds(more: str) -> str:
    """The template's kinds, with ``more`` added, or in place of those with the same names.

    UsageError if ``more`` is not valid.
    """
    try:
        Kinds(more)
    except ValueError as error:
        raise UsageError(
            f"KINDS can't be used: {error}. Write a word for each kind, and its settings after a "
            "colon:\n\n  make run KINDS='page:counts=public room:lease=60'\n\n"
            "docs/api.md has all settings."
        ) from None
    words = [*template_kinds().split(), *more.split()]
    return " ".join({word.partition(":")[0]: word for word in words}.values())


def template_kinds() -> str:
    """The template's kinds."""
    template: Any = yaml.load((ROOT / "template.yaml").read_text(), _Template)  # noqa: S506
    kinds: str = template["Parameters"]["Kinds"]["Default"]
    return kinds
