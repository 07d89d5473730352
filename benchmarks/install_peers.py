"""Installs each peer into an environment of its own, `.venv-peers/<name>`, and says which could not be.

They cannot share one: some want different versions of the same packages.
"""

from __future__ import annotations

import subprocess
import sys
import venv

from measuring.contenders import PEERS

PACKAGES = {
    "tracing": ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-grpc"),
    "langfuse": ("langfuse",),
    "logfire": ("logfire",),
    "litellm": ("litellm",),
    "phoenix": ("arize-phoenix",),
}
COMMON = ("psutil",)
"""For figures about the peers' processes."""

DONE = "installed.txt"


def main() -> int:
    failed = {name: reason for name, packages in PACKAGES.items() if (reason := install(name, packages))}
    for name, reason in failed.items():
        print(f"{name}: not installed: {reason}", file=sys.stderr)
    print(f"{len(PACKAGES) - len(failed)} of {len(PACKAGES)} peers are installed in {PEERS.name}")
    return 0


def install(name: str, packages: tuple[str, ...]) -> str:
    """Why it could not be installed; empty when it is."""
    folder = PEERS / name
    marker = folder / DONE
    if marker.exists():
        return ""
    print(f"installing {', '.join(packages)} …", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "-q"]
    done = subprocess.run([*pip, "install", *packages, *COMMON], capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        return (errors or done.stderr.strip().splitlines() or ["pip said nothing"])[0][:200]
    marker.write_text(subprocess.run([*pip, "freeze"], capture_output=True, text=True, check=True).stdout)
    return ""


def versions() -> dict[str, str]:
    """Of the peers that are installed."""
    found: dict[str, str] = {}
    for name, packages in PACKAGES.items():
        marker = PEERS / name / DONE
        for line in marker.read_text().splitlines() if marker.exists() else ():
            package, _, version = line.partition("==")
            if package in packages:
                found[package] = version
    return found


if __name__ == "__main__":
    raise SystemExit(main())
