"""The pages are correct. tests/stack/test_docs.py runs their commands and snippets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lab.harness.template import ROOT, template
from tests.docs.checks import problems
from tests.docs.commands import CHECKED, commands, words
from tests.docs.pages import Page, page, pages

ALARMS = template().of_type("AWS::CloudWatch::Alarm")


@pytest.mark.parametrize("path", [one.path for one in pages()], ids=lambda path: path.name)
def test_a_page_has_no_problems(path: Path) -> None:
    assert problems(page(path)) == []


def made_up(text: str) -> Page:
    """An invented page in docs/."""
    return Page(ROOT / "docs" / "made-up.md", text)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```zsh\nls\n```", "no test runs or checks a block of 'zsh'"),
        ("```\n$ make run\n```", "no test runs this command"),
        ("    make run\n", "no test runs this command"),
        ("[a](nowhere.md)", "the link nowhere.md points to no file"),
        ("[a](../README.md#nowhere)", "points to no heading"),
        ("# Here\n[a](#there)", "the link #there points to no heading"),
        ("![a](nothing.png)", "the link nothing.png points to no file"),
        ("see `tests/unit/test_nothing.py`", "there is no tests/unit/test_nothing.py"),
        ("see `local/nothing/`", "there is no local/nothing/"),
        ("```sh\nsam local invoke -e events/nothing.json\n```", "there is no events/nothing.json"),
        ("```sh\naws x --a file://nothing.json\n```", "there is no nothing.json"),
        ("held by `test_that_is_not_there`", "there is no test test_that_is_not_there"),
        ("set `ShardsPerPlace`", "nothing is called ShardsPerPlace"),
        ("set `Edge=maybe`", "Edge can't be maybe"),
        ("set `TokenSecret=abc`", "TokenSecret can't be abc"),
        ("```sh\nsam deploy --parameter-overrides Shards=3\n```", "has no parameter Shards"),
        ("ask `GET /v1/nothing`", "nothing answers GET /v1/nothing"),
        ("ask `DELETE /dashboard`", "nothing answers DELETE /dashboard"),
        ("say `make nothing`", "make has no target nothing"),
        ("```sh\nPORT=1 make nothing\n```", "make has no target nothing"),
        ("say `headcount nothing`", "headcount has no command nothing"),
        ("```sh\nheadcount watch site:main --nothing\n```", "has no option --nothing"),
        ("```sh\nheadcount days x --to 2026-11-21\n```", "2026-11-21 ages"),
        ("```js\nf({ from: '2026-11' });\n```", "2026-11 ages"),
        ('```json\n{"type": "headcount"}\n```', "no message, request or response is"),
        ('```json\n{"type": \n```', "not json"),
        ("```yaml\na: [\n```", "not yaml"),
        ("```toml\na =\n```", "not toml"),
        ("```tsx\nconst a = 1;\n```", "not quoted from"),
    ],
)
def test_a_problem_is_found(text: str, wrong: str) -> None:
    (found,) = problems(made_up(text))
    assert found.startswith("docs/made-up.md:")
    assert wrong in found


def test_a_correct_page_has_no_problem() -> None:
    text = """# Here & there
[a](#here--there) [b](client.md#functions) `ShardsPerSpace=3` `GET /v1/spaces/site:main/viewers`
`make run PORT=9000` `headcount watch site:main` `docs/client.md` `local/` `{"a": 1}` `pointsOf`

```json
{"type": "pong"}
{"action": "ping"}
```
"""
    assert problems(made_up(text)) == []


def test_headings_with_the_same_text_have_different_anchors() -> None:
    assert made_up("# One\n# `a` b\n# One\n").anchors == {"one", "a-b", "one-1"}


def test_a_block_is_split_into_commands_as_in_a_shell() -> None:
    text = "# why\nmake run # all\n\ncurl x \\\n  -d '{\n}'\ncat <<END\nmake run\nEND\nlast\n"
    assert commands(text) == [
        "make run # all",
        "curl x \\\n  -d '{\n}'",
        "cat <<END\nmake run\nEND",
        "last",
    ]
    assert words("A=1 make run \\\n  PORT=2 # all") == ["make", "run", "PORT=2"]


@pytest.mark.parametrize(
    ("command", "wrong"),
    [
        (".venv/bin/sam deploy --guidedd", "No such option: --guidedd"),
        (".venv/bin/sam deploy --parameter-overrides Shards=3", "no parameter Shards"),
        (".venv/bin/sam delete --stack-name", "requires an argument"),
        ("aws nothing list", "AWS has no service nothing"),
        ("aws sqs list-nothing", "sqs has no operation list-nothing"),
        ("aws sqs list-queues --nothing", "list-queues does not take --nothing"),
        ("aws logs tail group --nothing", "tail does not take --nothing"),
        ("aws sqs receive-message", "receive-message needs --queue-url"),
    ],
)
def test_a_command_for_aws_that_would_be_refused_is_noticed(command: str, wrong: str) -> None:
    check = CHECKED[command.split(maxsplit=1)[0]]
    (found,) = check(words(command))
    assert wrong in found


@pytest.mark.parametrize("name", sorted(ALARMS))
def test_an_alarm_names_the_section_that_explains_it(name: str) -> None:
    (there,) = re.findall(r"docs/(\S+\.md)#([\w-]+)", ALARMS[name]["AlarmDescription"])
    explained = page(ROOT / "docs" / there[0])
    assert there[1] in explained.anchors
    assert f"`{name}`" in explained.text


def test_every_page_can_be_reached_from_the_readme() -> None:
    known = {one.path: one for one in pages()}
    found, reached = [ROOT / "README.md"], set()
    for path in found:
        reached.add(path)
        for target, _ in known[path].links:
            to = (path.parent / target.partition("#")[0]).resolve()
            if to in known and to not in reached and to not in found:
                found.append(to)
    assert {path.name for path in known if path not in reached} == set()


def test_a_page_names_no_test_that_is_not_there() -> None:
    files = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/*.py"))
    there = set(re.findall(r"^(?:async )?def (test_\w+)", files, re.MULTILINE))
    named = {
        (one.name, code)
        for one in pages()
        for code, _ in one.codes
        if re.fullmatch(r"test_\w+", code)
    }
    assert len(named) > 20
    assert {(name, code) for name, code in named if code not in there} == set()
