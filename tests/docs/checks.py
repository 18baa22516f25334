"""Check a page against the project without running anything."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import yaml
from headcount.documents import asyncapi, openapi
from headcount.settings import Settings
from headcount_cli.app import app
from jsonschema import Draft202012Validator
from typer.main import get_command

from lab.harness.template import ROOT, template
from tests.docs.pages import Block, Page, page

RUN = {"sh", "js", "html", "css", "vue", "python"}
"""Languages whose blocks tests/stack/test_docs.py runs."""
QUOTED = {"tsx", "jsx", "ts", "svelte", "njk", "php"}
"""Languages whose blocks are quoted from what tests/stack/test_react.py and test_recipes.py run."""
PARSED = {"json", "yaml", "toml"}
SHOWN = {"", "text"}
"""Diagrams and lists."""

GENERATED = ("functions/site/built/", ".local/", ".aws-sam/", ".venv/")
THEIRS = {"ConvexReactClient", "HttpOnly", "SameSite", "RealTimeDashboard"}
"""Names on pages that are not the project's."""
_CODE = {"*.py", "*.js", "*.mjs", "*.ts", "*.tsx", "*.jsx", "*.html", "*.json", "*.toml"}
_FOLDERS = ("cli", "clients", "events", "functions", "lab", "layers", "local", "tests")
_METHODS = "GET|POST|PUT|PATCH|DELETE"


def problems(of: Page) -> list[str]:
    """All problems of a page, with their lines."""
    return [
        f"{of.name}:{line}: {what}" for check in CHECKS for line, what in sorted(set(check(of)))
    ]


Found = Iterator[tuple[int, str]]


def fences(of: Page) -> Found:
    """Every block is run, compared or at least parsed; unchecked blocks contain no commands."""
    for block in of.blocks:
        if block.language not in RUN | QUOTED | PARSED | SHOWN:
            yield block.line, f"no test runs or checks a block of {block.language!r}"
        if block.language in SHOWN:
            for text in block.text.splitlines():
                if re.match(r"\s*(\$ |make |curl |headcount |aws |sam |\.venv/)", text):
                    yield block.line, f"no test runs this command: fence it as sh: {text.strip()}"


def links(of: Page) -> Found:
    """Links within the project point to files, and to headings in them."""
    for target, line in of.links:
        if re.match(r"https://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        to = (of.path.parent / path).resolve() if path else of.path
        if path and not to.exists():
            yield line, f"the link {target} points to no file"
        elif anchor and anchor not in (of if to == of.path else page(to)).anchors:
            yield line, f"the link {target} points to no heading"


def paths(of: Page) -> Found:
    """Named files and folders exist, by their whole path or its end."""
    for code, line in of.codes:
        name = code.removeprefix("./").removeprefix("here/")
        if not re.fullmatch(r"[\w.@-]+(/[\w.@-]+)*/?", name) or name.startswith(GENERATED):
            continue
        is_ours = name.split("/")[0] in _top() and "/" in name
        is_file = re.search(r"\.(py|md|ya?ml|toml|mjs|js|d\.ts|html)$", name)
        ends = f"/{name.rstrip('/')}"
        if (is_ours or is_file) and not any(f"/{path}".endswith(ends) for path in _tree()):
            yield line, f"there is no {code}"
    for block in of.blocks:
        if block.language == "sh":
            for name in re.findall(r"(?:(?<=file://)|(?<=\s)(?=\w+/))[\w./-]+", block.text):
                if name.split("/")[0] in _top() | {name} and name.rstrip("/") not in _tree():
                    yield block.line, f"there is no {name}"


def names(of: Page) -> Found:
    """Named parameters, outputs, classes and tests exist, and values are allowed."""
    for code, line in of.codes:
        named = re.fullmatch(r"([A-Z]\w+)(=\S*)?", code)
        if named and named[1] not in _words() | THEIRS and re.match(r"[A-Z][a-z]+[A-Z]", code):
            yield line, f"nothing is called {named[1]}"
        if named:
            yield from ((line, what) for what in _refused(named[1], named[2] or ""))
        for name in re.findall(r"\btest_\w+(?![\w.])", code):
            if name not in _words() and f"{name}.py" not in code:
                yield line, f"there is no test {name}"


def overrides(of: Page) -> Found:
    """Parameters in commands and settings files are in the template."""
    for block in of.blocks:
        if block.language in {"sh", "toml"}:
            text = block.text.replace("\\\n", " ")
            for given in re.findall(r"parameter[-_]overrides[ =]+\"?([^\"\n]*)", text):
                for name, value in re.findall(r"(?<!\S)(\w+)(=\S*)?", given):
                    if value and name not in template().parameters:
                        yield block.line, f"the template has no parameter {name}"
                    yield from ((block.line, what) for what in _refused(name, value))


def _refused(name: str, value: str) -> Iterator[str]:
    """What the template says of a value that a parameter is given."""
    known = template().parameters.get(name, {})
    given = value.removeprefix("=").strip("'\"")
    if not given or not known or re.search(r"[<>{}$]|\.\.\.", given):
        return
    if given not in map(str, known.get("AllowedValues", [given])):
        yield f"{name} can't be {given}"
    if not re.search(known.get("AllowedPattern", ""), given):
        yield f"{name} can't be {given}"


def routes(of: Page) -> Found:
    """A call that is named can be called."""
    shown = [(block.text, block.line) for block in of.blocks if block.language in SHOWN]
    for text, line in [*of.codes, *shown]:
        for method, path in re.findall(
            rf"^(?:{_METHODS}\|)*({_METHODS})\s+(/[^\s?`]*)", text, re.M
        ):
            if "..." not in path and not any(re.fullmatch(one, path) for one in _routes(method)):
                yield line, f"nothing answers {method} {path}"


def targets(of: Page) -> Found:
    """Targets of `make`, in blocks and sentences, are in the Makefile."""
    commands = [(block.text, block.line) for block in of.blocks if block.language == "sh"]
    for text, line in [*of.codes, *commands]:
        for name in re.findall(r"^\s*(?:\w+=\S*\s+)*make\s+([a-z][\w-]*)", text, re.M):
            if name not in make_targets():
                yield line, f"make has no target {name}"


def cli(of: Page) -> Found:
    """Commands and options of `headcount`, in blocks and sentences, exist."""
    commands = [(block.text, block.line) for block in of.blocks if block.language == "sh"]
    for text, line in [*of.codes, *commands]:
        for name, rest in re.findall(
            r"^\s*(?:\.venv/bin/)?headcount +([a-z][\w-]*)(.*)", text.replace("\\\n", " "), re.M
        ):
            known = _commands().get(name)
            if known is None:
                yield line, f"headcount has no command {name}"
                continue
            for option in re.findall(r"(?<!\S)(--?[a-z][\w-]*)", rest.partition("|")[0]):
                if option not in known:
                    yield line, f"headcount {name} has no option {option}"


def dates(of: Page) -> Found:
    """Blocks that are run contain no date, because they must work on any day; only `AT` may."""
    for block in of.blocks:
        for day in re.findall(r"(?<!AT=)\b20\d\d-\d\d(?:-\d\d)?(?!\d)", block.text):
            if block.language in RUN:
                yield block.line, f"{day} ages: use a relative time"


def data(of: Page) -> Found:
    """JSON matches the documents' schemas, settings parse, and components are tested."""
    for block in of.blocks:
        try:
            if block.language == "json":
                yield from ((block.line, what) for what in _messages(block.text))
            elif block.language == "yaml":
                list(yaml.compose_all(block.text, yaml.SafeLoader))
            elif block.language == "toml":
                tomllib.loads(block.text)
            elif is_quoted(block) and block.text not in _components():
                where = "tests/clients/react/ or tests/recipes/"
                yield block.line, f"not quoted from {where}, so no test runs it"
        except (ValueError, yaml.YAMLError) as error:
            yield block.line, f"not {block.language}: {error}"


def is_quoted(block: Block) -> bool:
    """Whether a block is a part of a tested app. A Vue block with a script is a whole component."""
    return block.language in QUOTED or (block.language == "vue" and "<script" in block.text)


def _messages(text: str) -> Iterator[str]:
    """The values in a list of JSON values that are no message, request or response."""
    decoder, rest = json.JSONDecoder(), text.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        if not any(schema.is_valid(value) for schema in _schemas()):
            wrong = min(([*schema.iter_errors(value)] for schema in _schemas()), key=len)
            why = "; ".join(error.message for error in wrong)
            yield f"no message, request or response is {json.dumps(value)[:80]}: {why[:300]}"
        rest = rest[end:].strip()


CHECKS: list[Callable[[Page], Found]] = [
    *(fences, links, paths, names, overrides, routes, targets, cli, dates, data),
]


@cache
def make_targets() -> frozenset[str]:
    """The targets of the Makefile."""
    text = (ROOT / "Makefile").read_text()
    return frozenset(re.findall(r"^([a-z][\w-]*):", text, re.MULTILINE))


@cache
def _commands() -> dict[str, set[str]]:
    """The operator's commands and their options."""
    group: Any = get_command(app)
    return {
        name: {"--help", "-h", *chain.from_iterable(one.opts for one in command.params)}
        for name, command in group.commands.items()
    }


@cache
def _top() -> frozenset[str]:
    return frozenset(path.name for path in ROOT.iterdir()) | {"docs"}


@cache
def _tree() -> frozenset[str]:
    """All paths of the project except generated ones."""
    generated = {".venv", ".local", ".aws-sam", ".git", "built", "node_modules", "__pycache__"}
    found: set[str] = set()
    folders = [ROOT]
    for folder in folders:
        for path in folder.iterdir():
            if path.name not in generated and not path.name.endswith("_cache"):
                found.add(path.relative_to(ROOT).as_posix())
                folders += [path] if path.is_dir() else []
    return frozenset(found)


@cache
def _words() -> frozenset[str]:
    """Every word of the project's code, without the tests of the pages."""
    texts = [(ROOT / name).read_text() for name in ("template.yaml", "samconfig.toml", "Makefile")]
    for name in _tree():
        path = Path(name)
        is_code = name.startswith(_FOLDERS) and any(path.match(pattern) for pattern in _CODE)
        if is_code and not name.startswith("tests/docs"):
            texts.append((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(re.findall(r"\w+", "\n".join(texts)))


@cache
def _routes(method: str) -> list[str]:
    """Patterns of the paths with a method, including the sockets' addresses."""
    http, sockets = _documents()
    known = [path for path, calls in http["paths"].items() if method.lower() in calls]
    if method == "GET":
        known += [channel["address"].partition("?")[0] for channel in sockets["channels"].values()]
        known += ["/dashboard", "/admin/live"]
    return [re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) for path in known]


@cache
def _documents() -> tuple[dict[str, Any], dict[str, Any]]:
    settings = Settings(template().environment("api"))
    deployment = (tuple(settings.kinds.names), settings.token_cookie)
    return openapi.document(*deployment), asyncapi.document(*deployment)


@cache
def _schemas() -> list[Draft202012Validator]:
    """Schemas of all messages and responses, without those that accept anything."""
    http, sockets = _documents()
    references = [
        ({"$ref": f"#/components/schemas/{name}"}, document)
        for document in (http, sockets)
        for name in document["components"]["schemas"]
    ]
    references += [
        (message["payload"], sockets) for message in sockets["components"]["messages"].values()
    ]
    found = [
        Draft202012Validator({**schema, "components": document["components"]})
        for schema, document in references
    ]
    found.append(Draft202012Validator(json.loads((ROOT / "docs/events.schema.json").read_text())))
    return [schema for schema in found if not schema.is_valid({"unknown": "field"})]


@cache
def _components() -> str:
    """The components and apps that are compiled, type-checked and shown."""
    found = sorted((ROOT / "tests" / "clients" / "react").glob("*.?sx"))
    found += sorted(
        path
        for path in (ROOT / "tests" / "recipes").glob("*/**/*.*")
        if path.suffix in {".js", ".ts", ".tsx", ".vue", ".svelte", ".njk", ".php"}
    )
    return "\n".join(path.read_text() for path in found)
