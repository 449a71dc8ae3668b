"""The packages of the extra `server`, which the base install leaves out."""

from __future__ import annotations

from importlib.util import find_spec

from emow2v.errors import Emow2vError

PACKAGES = ("fastapi", "plotly", "prometheus_client", "python_multipart", "starlette", "uvicorn", "websockets")


def check_installed(command: str) -> None:
    """Refuse a command that needs a package which is missing.

    Args:
        command: of the command line, as people type it

    Raises:
        Emow2vError: names the packages and says how to install them
    """
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise Emow2vError(
            f"{command} needs packages that are not installed ({', '.join(missing)}); run: pip install 'emow2v[server]'"
        )
