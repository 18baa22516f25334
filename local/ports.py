"""Ports: find a free one, and explain which process holds a taken one."""

import shutil
import socket
import subprocess

from local.settings import LOOPBACK, Settings, UsageError


def free_port() -> int:
    """A port that is free right now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def is_taken(port: int) -> bool:
    """Whether something on this machine uses the port, on IPv4 or IPv6 loopback."""
    for family, host in ((socket.AF_INET, LOOPBACK), (socket.AF_INET6, "::1")):
        try:
            with socket.socket(family) as probe:
                if probe.connect_ex((host, port)) == 0:
                    return True
        except OSError:  # no IPv6 here
            continue
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
    except OSError:
        return True
    return False


def require_free_ports(settings: Settings) -> None:
    """Raise a UsageError that names the first taken port, the process that holds it, and a fix."""
    wanted = {"PORT": settings.port, "GATEWAY_PORT": settings.gateway_port}
    if settings.port == settings.gateway_port:
        raise UsageError(f"PORT and GATEWAY_PORT are both {settings.port}: they must differ.")
    for name, port in wanted.items():
        if is_taken(port):
            raise UsageError(
                f"Port {port} is taken{_holder(port)}. End that process, or choose another port: "
                f"`make run {name}={free_port()}`."
            )


def _holder(port: int) -> str:
    """The process that holds a port, found with `lsof`; "" without it."""
    lsof = shutil.which("lsof")
    if not lsof:
        return ""
    found = subprocess.run(
        [lsof, "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"],
        check=False,
        capture_output=True,
        text=True,
    ).stdout.split()
    fields = {line[0]: line[1:] for line in reversed(found)}
    return f" by {fields.get('c', 'a process')} (pid {fields['p']})" if "p" in fields else ""
