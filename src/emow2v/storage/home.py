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


def keep_others_here() -> None:
    """Have Matplotlib and PyTorch keep their caches in ours, instead of in folders of their own.

    For processes that are ours, never for a program that imports emow2v. What the environment names already stays, and so
    does everything where nothing can be written into our folder.
    """
    try:
        folder = home()
    except RuntimeError:  # EMOW2V_HOME begins with ~, and nobody knows whose
        return
    above = next((one for one in (folder, *folder.parents) if os.path.lexists(one)), None)
    if above is None or not os.access(above, os.W_OK | os.X_OK):
        return
    for name, below in (("MPLCONFIGDIR", "matplotlib"), ("TORCHINDUCTOR_CACHE_DIR", "torch")):
        os.environ.setdefault(name, str(folder / below))
