"""Generates `wire/v1` from `proto/`; with --check only says whether it is stale (exit 1)."""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = Path("configurable_agents/wire/v1")
TARGET = ROOT / "src" / PACKAGE


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        generated = generate(Path(folder))
        stale = [path.name for path in generated if not same(path, TARGET / path.name)]
        if "--check" in sys.argv:
            if stale:
                print(f"stale: {', '.join(stale)}; run `make proto`", file=sys.stderr)
            return 1 if stale else 0
        for path in generated:
            shutil.copyfile(path, TARGET / path.name)
        print(f"{len(generated)} files in {TARGET.relative_to(ROOT)}, {len(stale)} changed")
        return 0


def generate(out: Path) -> list[Path]:
    well_known = resources.files("grpc_tools") / "_proto"
    sources = sorted((ROOT / "proto" / PACKAGE).glob("*.proto"))
    arguments = [
        "protoc",
        f"-I{ROOT / 'proto'}",
        f"-I{well_known}",
        f"--python_out={out}",
        f"--pyi_out={out}",
        f"--grpc_python_out={out}",
        *(str(source) for source in sources),
    ]
    if protoc.main(arguments) != 0:
        raise SystemExit("protoc failed")
    return sorted((out / PACKAGE).iterdir())


def same(left: Path, right: Path) -> bool:
    return right.exists() and filecmp.cmp(left, right, shallow=False)


if __name__ == "__main__":
    raise SystemExit(main())
