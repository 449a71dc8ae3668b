"""`emow2v serve`, and what the command line does where the extra `server` is not installed."""

import json
import subprocess
import sys
import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import typer

from emow2v.cli import main
from emow2v.modelstore.verify import EXAMPLE
from emow2v.server.extra import PACKAGES
from emow2v.server.options import ServerOptions

ROOT = Path(__file__).parents[2]

# The command line in a process to which the packages of the extra are invisible
BARE = f"""
import sys
from importlib.machinery import PathFinder

class Hidden(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {PACKAGES!r} else super().find_spec(name, path, target)

sys.meta_path[:] = [Hidden if finder is PathFinder else finder for finder in sys.meta_path]
for name in {PACKAGES!r}:
    try:
        __import__(name)
    except ModuleNotFoundError:
        continue
    raise SystemExit(f"{{name}} was not hidden")
from emow2v.cli.main import main
main()
"""


def bare(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BARE, *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_what_needs_the_server_says_what_to_install(command: str, tmp_path: Path) -> None:
    done = bare(command, folder=tmp_path)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith(f"emow2v {command} needs packages that are not installed")
    assert done.stderr.endswith("run: pip install 'emow2v[server]'\n") and done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_all_else_works_without_the_server(tmp_path: Path) -> None:
    done = bare("predict", str(EXAMPLE), "-o", str(tmp_path), "--format", "json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    table = json.loads((tmp_path / "example.json").read_text())
    assert len(table["rows"]) == 321 and table["provenance"]["model"] == "lite"
    assert "lite" in bare("models", "list", folder=tmp_path).stdout
    assert "Arousal" in bare("cite", folder=tmp_path).stdout
    assert "--token" in bare("serve", "--help", folder=tmp_path).stdout


def test_the_extra_holds_these_packages_and_the_base_none_of_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extra = {line.partition(">")[0].replace("-", "_") for line in project["optional-dependencies"]["server"]}
    base = {line.partition(">")[0].replace("-", "_") for line in project["dependencies"]}
    assert extra == set(PACKAGES) and not extra & base


# What people have in their scripts, units and compose files; the last line of each is newer than 0.1.0
FLAGS = """
--host --port --model --engine --precision --device --threads --context --data-dir --work-dir --workers --token --insecure
--allow-host --tls-cert --tls-key --tls-self-signed --nova-status --max-upload --max-duration --max-waiting --max-streams
--keep-jobs --keep-days --patience --log-format
--allow-source --allow-network --fetch-minutes --allow-callback --callback-keys --callback-names
--root-path --forwarded-allow
--max-waiting-each --max-hours-each --max-kept-each
--max-disk --keep-uploads
--web
--warm --model-idle --max-models --max-models-memory
--overwrite --allow-database --database-user --database-password --database-ca --database-no-tls
""".split()
VARIABLES = """
HOST PORT MODEL ENGINE PRECISION DEVICE THREADS CONTEXT DATA_DIR WORK_DIR WORKERS TOKEN ALLOW_HOST TLS_CERT TLS_KEY
LOG_FORMAT
ALLOW_SOURCE ALLOW_NETWORK ALLOW_CALLBACK CALLBACK_KEYS ROOT_PATH FORWARDED_ALLOW
ALLOW_DATABASE DATABASE_USER DATABASE_PASSWORD DATABASE_CA
MAX_DISK KEEP_UPLOADS
WEB
WARM MAX_MODELS_MEMORY
""".split()


def test_every_option_of_the_server_is_an_option_of_the_command() -> None:
    command: Any = typer.main.get_command(main.app)
    options = {option.name: option for option in command.commands["serve"].params}
    assert sorted(flag for option in options.values() for flag in option.opts) == sorted(FLAGS)
    variables = {str(option.envvar) for option in options.values() if option.envvar}
    assert variables == {f"EMOW2V_{name}" for name in VARIABLES}
    for name, default in asdict(ServerOptions()).items():
        shown = options[name].default
        assert shown in (None, default), name  # None: the default of `ServerOptions` holds
        assert options[name].help[0].isupper() or name == "context", name
        assert options[name].help.endswith("."), name


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached from other machines"),
        (["--data-dir", ".", "--data-dir", "no"], "The data folder no is not there"),
        (["--tls-cert", "a.pem"], "--tls-cert and --tls-key belong together"),
        (["--engine", "torch", "--device", "npu9"], "This computer has no device 'npu9'; expected auto, cpu, or cuda"),
        (["--device", "npu9"], "This computer has no device 'npu9'"),
        (["--engine", "torch", "--precision", "fp16", "--device", "cpu"], "PyTorch does not compute in fp16 on cpu"),
        (["--context", "shared", "--model", "nobody"], "Model 'nobody' was not found"),
    ],
)
def test_options_reach_the_server(words: list[str], sentence: str, tmp_path: Path) -> None:
    """Each is refused by the server itself, in its own words."""
    if "--device" in words:
        pytest.importorskip("torch")
    command = [sys.executable, "-m", "emow2v", "serve", "--port", "0", "--work-dir", "work", *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1 and sentence in done.stderr and "serves" not in done.stdout, done.stderr
