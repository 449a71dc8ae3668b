"""PyTorch for the tests: where pip finds a build without CUDA, unless TORCH says yes or no.

    python scripts/install_torch.py auto|yes|no

On Linux, PyPI's PyTorch brings CUDA: 3 GB to download. An index or a folder with a smaller build, named to pip as
usual (PIP_EXTRA_INDEX_URL, PIP_FIND_LINKS), is found; on macOS and Windows the usual build is a small one.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

LIST = Path(__file__).resolve().parents[1] / "requirements" / "torch.txt"
PIP = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement", str(LIST)]


def why_not() -> str:
    """Why PyTorch is left out, or nothing; only descriptions of packages are downloaded."""
    plan = subprocess.run([*PIP, "--dry-run", "--report", "-"], stdout=subprocess.PIPE)
    if plan.returncode != 0:
        return "pip finds no PyTorch for this Python and machine"
    if any(one["metadata"]["name"].startswith("nvidia-") for one in json.loads(plan.stdout)["install"]):
        return "PyTorch would bring CUDA, 3 GB to download"
    return ""


def main(choice: str) -> None:
    reason = why_not() if choice == "auto" else ""
    if reason:
        print(f"{reason}; tests that need it skip. To install it all the same: make test TORCH=yes")
    elif choice != "no":
        sys.exit(subprocess.run(PIP).returncode)


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("auto", "yes", "no"):
        sys.exit(f"TORCH is {' '.join(sys.argv[1:]) or 'empty'}; expected auto, yes or no.")
    main(sys.argv[1])
