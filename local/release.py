"""Write a folder to dist/ that deploys Headcount without building.

    make release

It has the template, the built code as archives, the command line, a CDK construct, and a README
that says how. The same build gives the same archives.
"""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

from samcli.yamlhelper import yaml_parse

from local.bootstrap import UV_HOME
from local.build import AWS_BUILD_DIR
from local.package import DIST
from local.settings import ROOT, UsageError

EPOCH = (1980, 1, 1, 0, 0, 0)  # an archive's earliest date
ENVIRONMENTS = ("default", "prod")
CONSTRUCT = ("headcount.js", "headcount.d.ts", "package.json")
_CODE = re.compile(r"^( +(?:CodeUri|ContentUri): )(\w+)$", re.M)
_ABOUT = re.compile(r"^( +(?:LicenseUrl|ReadmeUrl): )\S*/(\w+(?:\.md)?)$", re.M)


def release(build: Path, target: Path) -> None:
    """Make the folder ``target`` of a build for AWS."""
    if not (build / "template.yaml").is_file():
        raise UsageError(f"{build} has no build: run `make build`.")
    shutil.rmtree(target, ignore_errors=True)
    (target / "code").mkdir(parents=True)
    for folder in sorted(path for path in build.iterdir() if path.is_dir()):
        archive(folder, target / "code" / f"{folder.name}.zip")
    template = (build / "template.yaml").read_text()
    template = _ABOUT.sub(r"\1\2", _CODE.sub(r"\1code/\2.zip", template))
    (target / "template.yaml").write_text(template)
    (target / "samconfig.toml").write_text(deploy_settings((ROOT / "samconfig.toml").read_text()))
    how = Path(__file__).with_suffix(".md").read_text()
    (target / "README.md").write_text(how.replace("VERSION", version()))
    for name in ("LICENSE", "CHANGELOG.md", "stack-policy.json"):
        shutil.copy(ROOT / name, target / name)
    (target / "cdk").mkdir()
    for name in CONSTRUCT:
        shutil.copy(ROOT / "cdk" / name, target / "cdk" / name)
    # Node has no parser of CloudFormation's YAML.
    parsed = json.dumps(yaml_parse(template), indent=1, default=str)
    (target / "cdk" / "template.json").write_text(parsed)
    uv = [str(UV_HOME / "bin" / "uv"), "build", "--quiet", "--wheel", "--no-config"]
    subprocess.run([*uv, "--out-dir", str(target), str(ROOT)], check=True)
    (target / ".gitignore").unlink(missing_ok=True)  # uv's, which would keep it out of repositories


def archive(folder: Path, target: Path) -> None:
    """The files of a folder as an archive that depends on nothing but them."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            member = zipfile.ZipInfo(path.relative_to(folder).as_posix(), EPOCH)
            member.external_attr = (0o755 if path.stat().st_mode & 0o100 else 0o644) << 16
            member.compress_type = zipfile.ZIP_DEFLATED
            packed.writestr(member, path.read_bytes())


def deploy_settings(text: str) -> str:
    """What of samconfig.toml is for `sam deploy` to AWS."""
    tables = "|".join(
        rf"\[{name}\.deploy\.parameters\]\n(?:[^\[\n#].*\n)+" for name in ENVIRONMENTS
    )
    return "\n".join(["version = 0.1\n", *re.findall(tables, text)])


def version() -> str:
    """The project's version."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


def main() -> int:
    target = DIST / f"headcount-{version()}"
    try:
        release(AWS_BUILD_DIR, target)
    except UsageError as error:
        print(error, file=sys.stderr)
        return 1
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target.relative_to(ROOT)}  {size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
