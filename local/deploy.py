"""Deploy the built template onto the running emulator, and return the stack's addresses.

As a command (`make deploy-local`) it builds, and deploys onto the stack of `make run`.
"""

import asyncio
import hashlib
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from headcount_cli.target import Stack

from local.build import SAM, build, build_lock, parameter_overrides, sam_environment
from local.kinds import all_kinds
from local.outputs import running_stack, write_outputs
from local.processes import run
from local.sam_local import write_sam_files
from local.settings import BUILD_DIR, REGION, STACK_NAME, Settings, UsageError, use_emulator

BUCKET = "headcount-local-artifacts"
DEPENDENCIES = "DependenciesLayer"
BATCH_FUNCTIONS = ("CountFunction", "PublishFunction", "DeferredFunction", "EventsFunction")
TOKEN_LIVES = 12 * 3600  # seconds
TABLES = (
    "presence",
    "counts",
    "headcounts",
    "visits",
    "history",
    "subscriptions",
    "streams",
    "people",
)


async def deploy(settings: Settings) -> dict[str, Any]:
    """Deploy what `build` built, and return the outputs."""
    template = await asyncio.to_thread(_upload_dependencies)
    await run(
        *(SAM, "deploy", "--template-file", str(template)),
        *("--stack-name", STACK_NAME, "--region", REGION, "--config-env", "local"),
        *("--s3-bucket", BUCKET, "--no-progressbar"),
        *("--capabilities", "CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"),
        *("--no-confirm-changeset", "--no-fail-on-empty-changeset"),
        *parameter_overrides(
            EventBus="default",
            RollUps=settings.roll_ups and f'"{settings.roll_ups}"',
            WebhookUrl=settings.webhook_url,
            Settings=settings.stack_settings,
            # Without one, a redeploy keeps the last.
            Kinds=settings.kinds and f'"{all_kinds(settings.kinds)}"',
        ),
        env=sam_environment(settings),
        log=settings.home / "deploy.log",
    )
    return await asyncio.to_thread(_finish, settings)


def _upload_dependencies() -> Path:
    """Upload the built dependencies uncompressed, unless they are unchanged; returns the template
    that refers to them.

    SAM CLI would compress all 60 MB at every deploy, also if they are unchanged.
    """
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    folder = BUILD_DIR / DEPENDENCIES
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    digest = hashlib.blake2b(digest_size=16)
    for path in files:
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    key = f"{digest.hexdigest()}.zip"
    if not s3.list_objects_v2(Bucket=BUCKET, Prefix=key).get("Contents"):
        with tempfile.TemporaryFile() as archive:
            with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
                for path in files:
                    packed.write(path, path.relative_to(folder))
            archive.seek(0)
            s3.put_object(Bucket=BUCKET, Key=key, Body=archive)
    built = (BUILD_DIR / "template.yaml").read_text()
    template = BUILD_DIR / "template-with-dependencies.yaml"
    template.write_text(
        built.replace(f"ContentUri: {DEPENDENCIES}\n", f"ContentUri: s3://{BUCKET}/{key}\n")
    )
    return template


def _finish(settings: Settings) -> dict[str, Any]:
    stack = Stack(STACK_NAME, boto3.Session())
    found = stack.outputs
    token = stack.token(subject="admin", lives=TOKEN_LIVES)
    return {
        "origin": settings.origin,
        "httpUrl": settings.origin,
        "webSocketUrl": f"ws://localhost:{settings.port}/ws",
        "dashboardUrl": f"{settings.origin}/dashboard#token={token}",
        "adminToken": token,
        "region": REGION,
        "awsEndpointUrl": settings.gateway_url,
        "stackName": STACK_NAME,
        "tables": {
            role: found[name] for role in TABLES if (name := f"{role.capitalize()}Table") in found
        },
        "batchFunctions": [_physical_id(name) for name in BATCH_FUNCTIONS],
        "httpApi": f"{found['HttpApiId']}/$default",
        "socketApi": f"{found['SocketApiId']}/{found['SocketStage']}",
    }


def _physical_id(logical_id: str) -> str:
    resource = boto3.client("cloudformation").describe_stack_resource(
        StackName=STACK_NAME, LogicalResourceId=logical_id
    )
    return resource["StackResourceDetail"]["PhysicalResourceId"]


async def redeploy(settings: Settings) -> None:
    """Build and deploy onto the running stack; its origin follows the new outputs file."""
    started = time.monotonic()
    settings, before = running_stack(settings)
    use_emulator(settings)
    async with build_lock():
        await build(settings)
        print(f"  built ({time.monotonic() - started:.1f} s)", flush=True)
        after = await deploy(settings)
    kept = {name: before[name] for name in ("pid", "containerEndpointUrl", "shortUrl")}
    outputs = {"ready": True} | kept | after
    write_sam_files(settings, outputs)
    write_outputs(settings, outputs)
    print(f"  deployed onto {settings.origin} ({time.monotonic() - started:.1f} s)", flush=True)


def main() -> int:
    try:
        asyncio.run(redeploy(Settings.from_environment()))
    except (UsageError, ClientError, BotoCoreError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
