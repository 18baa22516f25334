"""The dashboard's map of the world: as drawn from the locked packages."""

from __future__ import annotations

import shutil

from lab.harness import npm
from local.settings import ROOT
from tests.support.missing import missing

CLIENTS = ROOT / "clients"
HOME = ROOT / ".local" / "map"


def test_the_map_is_what_its_script_draws() -> None:
    try:
        npm.install(CLIENTS, HOME, oldest_node=18)
        shutil.copy(CLIENTS / "countries.mjs", HOME)
        drawn = npm.run("node", "countries.mjs", cwd=HOME)
    except npm.UnavailableError as error:
        missing("the map's packages", str(error))
    assert (CLIENTS / "dashboard" / "countries.svg").read_text() == drawn
