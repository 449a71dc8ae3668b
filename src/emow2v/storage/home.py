"""The folder in which emow2v keeps its own files between two runs: pulled models, uploads, results to fetch."""

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
    """The folder of pulled models: one folder a model, by its name."""
    return home() / "models"


def redirect_library_caches() -> None:
    """Let Matplotlib and PyTorch keep their caches in `home()` instead of in folders of their own.

    This is for emow2v's own processes, never for a program that imports emow2v. Variables that are set stay, and nothing is
    changed where `home()` cannot be written.
    """
    try:
        folder = home()
    except RuntimeError:  # EMOW2V_HOME begins with ~, and the user has no home folder
        return
    existing = next((one for one in (folder, *folder.parents) if os.path.lexists(one)), None)
    if existing is None or not os.access(existing, os.W_OK | os.X_OK):
        return
    for name, subfolder in (("MPLCONFIGDIR", "matplotlib"), ("TORCHINDUCTOR_CACHE_DIR", "torch")):
        os.environ.setdefault(name, str(folder / subfolder))
