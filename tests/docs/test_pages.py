"""What the pages say is so. What they tell one to do is run by tests/stack/test_docs.py."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.checks import problems
from tests.docs.commands import CHECKED, commands, words
from tests.docs.pages import Page, page, pages
from tests.support.template import ROOT, template

ALARMS = template().of_type("AWS::CloudWatch::Alarm")


@pytest.mark.parametrize("path", [one.path for one in pages()], ids=lambda path: path.name)
def test_what_a_page_says_is_so(path: Path) -> None:
    assert problems(page(path)) == []


def made_up(text: str) -> Page:
    """A page beside the others."""
    return Page(ROOT / "docs" / "made-up.md", text)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("```zsh\nls\n```", "nothing runs or checks a block of 'zsh'"),
        ("```\n$ make run\n```", "a command that nothing runs"),
        ("    make run\n", "a command that nothing runs"),
        ("[a](nowhere.md)", "the link nowhere.md leads nowhere"),
        ("[a](../README.md#nowhere)", "leads to no heading"),
        ("# Here\n[a](#there)", "the link #there leads to no heading"),
        ("![a](nothing.png)", "the link nothing.png leads nowhere"),
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
        ('```json\n{"type": "headcount"}\n```', "no message, request or answer is"),
        ('```json\n{"type": \n```', "not json"),
        ("```yaml\na: [\n```", "not yaml"),
        ("```toml\na =\n```", "not toml"),
        ("```tsx\nconst a = 1;\n```", "not a quotation of"),
    ],
)
def test_what_is_not_so_is_noticed(text: str, wrong: str) -> None:
    (found,) = problems(made_up(text))
    assert found.startswith("docs/made-up.md:")
    assert wrong in found


def test_what_is_so_is_left_alone() -> None:
    text = """# Here & there
[a](#here--there) [b](client.md#functions) `ShardsPerSpace=3` `GET /v1/spaces/site:main/viewers`
`make run PORT=9000` `headcount watch site:main` `docs/client.md` `local/` `{"a": 1}` `pointsOf`

```json
{"type": "pong"}
{"action": "ping"}
```
"""
    assert problems(made_up(text)) == []


def test_the_headings_of_a_page_are_told_apart() -> None:
    assert made_up("# One\n# `a` b\n# One\n").anchors == {"one", "a-b", "one-1"}


def test_a_block_is_taken_apart_where_a_shell_would() -> None:
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
def test_an_alarm_says_where_it_is_explained(name: str) -> None:
    (there,) = re.findall(r"docs/(\S+\.md)#([\w-]+)", ALARMS[name]["AlarmDescription"])
    explained = page(ROOT / "docs" / there[0])
    assert there[1] in explained.anchors
    assert f"`{name}`" in explained.text


def test_every_page_can_be_found_from_the_readme() -> None:
    known = {one.path: one for one in pages()}
    found, reached = [ROOT / "README.md"], set()
    for path in found:
        reached.add(path)
        for target, _ in known[path].links:
            to = (path.parent / target.partition("#")[0]).resolve()
            if to in known and to not in reached and to not in found:
                found.append(to)
    assert {path.name for path in known if path not in reached} == set()
