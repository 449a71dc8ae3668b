"""Where emow2v keeps what it must not lose between two runs: pulled models, uploads, results to fetch."""

from __future__ import annotations

import os
from pathlib import Path


def home() -> Path:
    """`EMOW2V_HOME`, else the platform's cache folder for emow2v."""
    named = os.environ.get("EMOW2V_HOME", "").strip()
    if named:
        return Path(named).expanduser().absolute()
    from platformdirs import user_cache_path

    return user_cache_path("emow2v", appauthor=False)


def models_folder() -> Path:
    return home() / "models"
