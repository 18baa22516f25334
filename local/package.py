"""Write the npm package that the stack serves to dist/, for a registry or an app's repository.

    make package

`local.bundle` builds it, from the modules that the stack serves and from clients/package.
"""

import json
import shutil
import sys

from local.bundle import PACKAGE, Bundler
from local.settings import ROOT, UsageError

DIST = ROOT / "dist"


def main() -> int:
    bundler = Bundler()
    try:
        bundler.bundle()
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    manifest = json.loads((bundler.clients / "package" / "package.json").read_text())
    DIST.mkdir(exist_ok=True)
    path = DIST / f"{manifest['name']}-{manifest['version']}.tgz"
    shutil.copy(bundler.built / PACKAGE, path)
    print(f"{path.relative_to(ROOT)}  {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
