"""The local stack's ports and folders, this machine's runtime, and the emulator's environment."""

import os
import platform
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV_BIN = ROOT / ".venv" / "bin"
EMULATOR_PYTHON = ROOT / ".local" / "emulator" / "bin" / "python"
BUILD_DIR = ROOT / ".aws-sam" / "local"  # separate from a `sam build` for AWS
STACK_NAME = "headcount-local"
REGION = "us-east-1"
LOOPBACK = "127.0.0.1"
HIGHEST_PORT = 65535

RUNTIME = f"python{sys.version_info.major}.{sys.version_info.minor}"
ARCHITECTURE = "arm64" if platform.machine().lower() in ("arm64", "aarch64") else "x86_64"


class UsageError(Exception):
    """Something the user can fix; its message says what and how."""


@dataclass(frozen=True)
class Settings:
    """One local stack: two ports and the folder of its outputs, logs and temporary files."""

    port: int = 8787
    gateway_port: int = 4566
    home: Path = ROOT / ".local"
    webhook_url: str = ""
    stack_settings: str = ""
    """The template's parameter ``Settings``."""
    kinds: str = ""
    """Kinds of spaces besides the template's, or in place of those with the same names."""
    roll_ups: str = "on"
    """The template's parameter ``RollUps``."""
    docs: bool = True
    """Whether to build the pages once the stack runs, before somebody looks at them."""
    origin_secret: str = field(default_factory=secrets.token_urlsafe, repr=False, compare=False)
    """By it the origin, and nobody else, passes on what pages ask of the emulator's APIs."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """PORT, GATEWAY_PORT, HEADCOUNT_LOCAL_DIR, WEBHOOK_URL, SETTINGS, KINDS, ROLL_UPS and
        DOCS, or their defaults."""
        return cls(
            port=_port("PORT", cls.port, environment),
            gateway_port=_port("GATEWAY_PORT", cls.gateway_port, environment),
            home=Path(environment.get("HEADCOUNT_LOCAL_DIR") or cls.home).resolve(),
            webhook_url=environment.get("WEBHOOK_URL", cls.webhook_url),
            stack_settings=environment.get("SETTINGS", cls.stack_settings),
            kinds=environment.get("KINDS", cls.kinds).strip(),
            roll_ups=environment.get("ROLL_UPS", cls.roll_ups).strip(),
            docs=environment.get("DOCS") != "off",
        )

    @property
    def origin(self) -> str:
        return f"http://localhost:{self.port}"

    @property
    def gateway_url(self) -> str:
        """The emulator, below its secret path while it runs."""
        return f"http://{LOOPBACK}:{self.gateway_port}/{self.secret}".rstrip("/")

    @property
    def execute_api_url(self) -> str:
        """The base URL of APIs by their ids: HTTP, WebSocket and management API."""
        return f"{self.gateway_url}/_aws/execute-api"

    @property
    def origin_api_url(self) -> str:
        """The same for the origin, which passes on what pages ask."""
        return f"{self._origin_gateway_url}/_aws/execute-api"

    @property
    def origin_function_url(self) -> str:
        """The base URL of functions with a URL, by the ids of their URLs, for the origin."""
        return f"{self._origin_gateway_url}/_aws/lambda-url"

    @property
    def _origin_gateway_url(self) -> str:
        return f"http://{LOOPBACK}:{self.gateway_port}/{self.origin_secret}"

    @property
    def secret(self) -> str:
        """The secret of the emulator that runs with this folder; empty if none does."""
        try:
            return self.secret_file.read_text()
        except FileNotFoundError:
            return ""

    @property
    def secret_file(self) -> Path:
        return self.home / "emulator-secret"

    @property
    def outputs_file(self) -> Path:
        return self.home / "outputs.json"

    @property
    def sam_environment_file(self) -> Path:
        return self.home / "sam-env.json"

    @property
    def sam_parameters_file(self) -> Path:
        return self.home / "sam-parameters.toml"

    @property
    def emulator_log(self) -> Path:
        return self.home / "emulator.log"

    @property
    def temporary(self) -> Path:
        """Where the emulator unpacks functions; deleted at start and at the end."""
        return self.home / "tmp"


def _port(name: str, default: int, environment: Mapping[str, str]) -> int:
    text = environment.get(name) or str(default)
    if not text.isdecimal() or int(text) not in range(1, HIGHEST_PORT + 1):
        raise UsageError(f"{name} is {text!r}: it must be a port number, like {default}.")
    return int(text)


def aws_environment(settings: Settings) -> dict[str, str]:
    """This process's environment with the emulator's AWS settings instead of the user's.

    Whatever runs in it can't use the user's profiles and keys.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    no_proxy = ",".join(filter(None, [kept.get("NO_PROXY"), "localhost", LOOPBACK]))
    return kept | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
        "AWS_REGION": REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_ENDPOINT_URL": settings.gateway_url,
        "NO_PROXY": no_proxy,
        "no_proxy": no_proxy,
    }


def use_emulator(settings: Settings) -> None:
    """Apply that environment to this process, so that its boto3 reaches only the emulator."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    os.environ.update(aws_environment(settings))
