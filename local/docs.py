"""The documentation site with its search: the pages of docs/ and beside it, and the reference.

    make docs

`make run` serves it at /docs. A link that leads nowhere fails the build. A second run without
changes does nothing.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from contextlib import suppress
from html import escape
from pathlib import Path

from aiohttp import web

from local.bootstrap import ENVIRONMENTS
from local.kinds import template_kinds
from local.processes import run
from local.reference import http_calls, websocket_messages
from local.settings import ROOT, Settings, UsageError

BUILD = ROOT / ".local" / "docs-build"
SITE = ROOT / ".local" / "docs-site"
STAMP = SITE / "headcount.stamp"
BESIDE = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE")
FIRST, LAST = 8, 0.2
BOOSTS = {
    **dict.fromkeys(("recipes.md", "metrics.md"), FIRST),
    **dict.fromkeys(
        ("decisions.md", "CHANGELOG.md", "http-calls.md", "websocket-messages.md"), LAST
    ),
}
"""The search finds what explains a thing before what has its history or its fields."""
CONFIG = Path(__file__).with_name("mkdocs.yml")
LIMIT = 300.0  # seconds, on a busy machine
POLICY = (
    "default-src 'none'; script-src 'self'; worker-src 'self'; connect-src 'self'; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_SCRIPT = re.compile(r"<script>(.*?)</script>", re.DOTALL)


def build() -> bool:
    """Bring the site up to date. False if there was nothing to do."""
    BUILD.mkdir(parents=True, exist_ok=True)
    with (BUILD / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        pages = sources()
        wanted = digest(pages)
        if STAMP.is_file() and STAMP.read_text() == wanted:
            return False
        _run(sys.executable, "-m", "local.bootstrap", "docs")
        shutil.rmtree(BUILD / "pages", ignore_errors=True)
        for name, content in pages.items():
            path = BUILD / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        made = BUILD / "made"
        mkdocs = str(ENVIRONMENTS["docs"] / "bin" / "mkdocs")
        _run(mkdocs, "build", "--strict", "-f", str(BUILD / CONFIG.name), "-d", str(made))
        without_inline_scripts(made)
        (made / STAMP.name).write_text(wanted)
        shutil.rmtree(SITE, ignore_errors=True)
        made.rename(SITE)
        return True


def sources() -> dict[str, bytes]:
    """All that the site is made from, by its path in the build folder."""
    from headcount.documents import asyncapi, openapi  # slow, and `make run` imports this module
    from headcount.model.space import Kinds

    deployment = (tuple(Kinds(template_kinds()).names), "")
    made = {
        "http-calls.md": http_calls(openapi.document(*deployment)),
        "websocket-messages.md": websocket_messages(asyncapi.document(*deployment)),
    }
    found = {f"pages/{name}": text.encode() for name, text in made.items()}
    # All pages are in one folder there, so what leads from one folder to the other is shortened.
    for name in BESIDE:
        found[f"pages/{name}"] = (ROOT / name).read_bytes().replace(b"](docs/", b"](")
    for path in sorted((ROOT / "docs").rglob("*.*")):
        content = path.read_bytes()
        name = path.relative_to(ROOT / "docs").as_posix()
        found[f"pages/{name}"] = (
            content.replace(b"](../", b"](") if path.suffix == ".md" else content
        )
    for name, boost in BOOSTS.items():
        front = f"---\nsearch: {{ boost: {boost} }}\n---\n"
        found[f"pages/{name}"] = front.encode() + found[f"pages/{name}"]
    return found | {CONFIG.name: CONFIG.read_bytes()}


def digest(pages: dict[str, bytes]) -> str:
    """A hash of the sources, of the generator's versions and of this file."""
    found = hashlib.sha256((ROOT / "local" / "locks" / "docs.txt").read_bytes())
    found.update(Path(__file__).read_bytes())
    for name, content in pages.items():
        found.update(f"{name}\0{len(content)}\0".encode() + content)
    return found.hexdigest()


def without_inline_scripts(site: Path) -> None:
    """Move the theme's inline scripts into files, as the policy allows no others."""
    for page in site.rglob("*.html"):
        up = "../" * (len(page.relative_to(site).parts) - 1)

        def moved(script: re.Match[str], up: str = up) -> str:
            name = f"assets/{hashlib.sha256(script[1].encode()).hexdigest()[:16]}.js"
            (site / name).write_text(script[1])
            return f'<script src="{up}{name}"></script>'

        page.write_text(_SCRIPT.sub(moved, page.read_text()))


def _run(*command: str) -> None:
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},  # local/locks/docs.in has the reason
        check=False,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    if done.returncode:
        raise UsageError(f"The pages could not be built:\n\n{done.stdout}{done.stderr}")


class Docs:
    """Serves the site below /docs. A stack starts before it is built: the first look waits."""

    def __init__(self, settings: Settings) -> None:
        self._log = settings.home / "docs.log"
        self._built: asyncio.Task[None] | None = None

    def build(self) -> asyncio.Task[None]:
        """Build it, unless that is under way or done."""
        if self._built is None or (self._built.done() and self._built.exception()):
            command = (sys.executable, "-m", "local.docs")
            self._built = asyncio.create_task(run(*command, env=os.environ, log=self._log))
        return self._built

    async def end(self) -> None:
        """End a build that is under way."""
        if self._built is not None:
            self._built.cancel()
            with suppress(asyncio.CancelledError, UsageError):
                await self._built

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            await asyncio.shield(self.build())
        except UsageError as error:
            text = f"{error}\n\n`make docs` tries again, and so does this page."
            page = f"<!doctype html><title>No documentation</title><pre>{escape(text)}</pre>"
            return web.Response(status=503, text=page, content_type="text/html")
        path = (SITE / request.match_info["path"].lstrip("/")).resolve()
        if not path.is_relative_to(SITE):
            raise web.HTTPNotFound
        if path.is_dir():
            if not request.path.endswith("/"):
                return web.Response(status=302, headers={"Location": f"{request.path}/"})
            path /= "index.html"
        if not path.is_file():
            raise web.HTTPNotFound
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return web.FileResponse(path, headers=headers)


def main() -> int:
    os.nice(10)  # a stack may be at work beside it
    try:
        done = build()
    except (UsageError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 1
    print(f"  {'built' if done else 'up to date'}: {(SITE / 'index.html').relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
