"""The npm package: its sentences with a number, its people, its tarball and its version."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
import tomllib
from pathlib import Path
from typing import Any

import pytest

from lab.harness.template import ROOT
from local.bundle import npm_tarball, without_folders
from tests.support.missing import missing

CLIENTS = ROOT / "clients"
SHARED = CLIENTS / "shared"
CALL = """
  const [file, name, calls] = JSON.parse(process.argv[1]);
  const module = await import(file);
  console.log(JSON.stringify(calls.map((given) => module[name](...given))));
"""


def called(file: Path, name: str, *calls: list[Any]) -> list[Any]:
    """The results of a module's function, in Node."""
    if shutil.which("node") is None:
        missing("Node", "install it, 18 or later.")
    given = json.dumps([file.as_uri(), name, calls])
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", CALL, given],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: list[Any] = json.loads(done.stdout)
    return found


VIEWING = "{n} person is|{n} people are viewing this"
POLISH = "{n} osoba|{n} osoby|{n} osób"
ARABIC = "none|one|two|few|many|other"


@pytest.mark.parametrize(
    ("template", "language", "expected"),
    [
        ("{n} here", "en", {0: "{n} here", 1: "{n} here", 7: "{n} here"}),
        (
            VIEWING,
            "en",
            {
                0: "{n} people are viewing this",
                1: "{n} person is viewing this",
                2: "{n} people are viewing this",
            },
        ),
        ("Now {n} is|Now {n} are here", "en", {1: "Now {n} is here", 2: "Now {n} are here"}),
        ("{n} Person da|{n} Personen sind da", "de", {1: "{n} Person da"}),
        ("Nur {n} hier|{n} Personen sind hier", "de", {1: "Nur {n} hier"}),
        ("{n} viewer | {n} viewers", "en", {1: "{n} viewer", 2: "{n} viewers"}),
        ("just you|{n} people are here", "en", {1: "just you", 3: "{n} people are here"}),
        (POLISH, "pl", {1: "{n} osoba", 3: "{n} osoby", 5: "{n} osób", 22: "{n} osoby"}),
        (ARABIC, "ar", {0: "none", 1: "one", 2: "two", 3: "few", 11: "many", 100: "other"}),
        (VIEWING, "ja", {1: "{n} people are viewing this"}),
        ("{n} ici|{n} là", "fr", {0: "{n} ici", 1: "{n} ici", 2: "{n} là", 1_000_000: "{n} là"}),
        ("{n} ici|{n} là", "ar", {1: "{n} ici", 0: "{n} là", 2: "{n} là"}),
    ],
)
def test_a_sentence_is_in_the_plural_form_of_its_language(
    template: str, language: str, expected: dict[int, str]
) -> None:
    calls = [[template, n, language] for n in expected]
    assert called(SHARED / "phrase.js", "phrase", *calls) == [*expected.values()]


def test_a_person_with_two_sessions_is_one() -> None:
    sessions = [
        {"sessionId": "a", "userId": "ada", "verified": True},
        {"sessionId": "b", "userId": "ada", "verified": True},
        {"sessionId": "c", "userId": "ada", "verified": False},  # only claims to be her
        {"sessionId": "d", "userId": None, "visitorId": "v"},
        {"sessionId": "e", "userId": None, "visitorId": "v"},
        {"sessionId": "f", "userId": None, "visitorId": None},
    ]
    (people,) = called(SHARED / "people.js", "peopleOf", [sessions])
    assert [one["sessionId"] for one in people] == ["b", "c", "e", "f"]


ON_A_SERVER = """
  const client = await import(process.argv[1]);
  client.identify({ userId: "ada", token: "secret" });
  const presence = client.connect({ space: "site:main", endpoint: "https://example.test" });
  const stops = [presence.subscribe(() => {}), client.subscribe(() => {})];
  presence.update({ page: "/" });
  for (const act of [presence.start, presence.leave, client.start, client.forget, ...stops]) act();
  presence.release();
  console.log(JSON.stringify([presence.count ?? null, await client.authorization()]));
"""


def test_on_a_server_the_client_does_nothing_and_keeps_nobodys_token() -> None:
    """One process renders pages of many people."""
    if shutil.which("node") is None:
        missing("Node", "install it, 18 or later.")
    client = (CLIENTS / "headcount.js").as_uri()
    done = subprocess.run(
        ["node", "--input-type=module", "--eval", ON_A_SERVER, client],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.stdout) == ("", "[null,{}]\n")


def test_the_package_has_the_projects_version() -> None:
    manifest = json.loads((CLIENTS / "package" / "package.json").read_text())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert manifest["version"] == project["version"]
    assert manifest["sideEffects"] == ["./headcount-elements.js"]


def test_the_same_files_give_the_same_tarball(tmp_path: Path) -> None:
    for name in ("b.js", "a.js"):
        (tmp_path / name).write_text(name)
    files = sorted(tmp_path.iterdir())
    packed = npm_tarball(files)
    assert packed == npm_tarball(reversed(files))
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert archive.getnames() == ["package/a.js", "package/b.js"]


def test_a_source_map_names_no_folder_of_this_machine() -> None:
    source_map = {"sources": ["../../home/me/clients/headcount.js"], "sourcesContent": ["1"]}
    parsed = json.loads(without_folders(json.dumps(source_map)))
    assert parsed == {"sources": ["src/headcount.js"], "sourcesContent": ["1"]}
