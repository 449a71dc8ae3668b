"""Programs that use the client are checked by mypy --strict."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
from emow2v.client import AsyncClient, Client

with Client("http://127.0.0.1:8080", token="t", verify="ca.pem") as client:
    reveal_type(client)
    result = client.predict("talk.wav", unit="turns", tier=["VP"], frame_step=0.1)
    reveal_type(result.scores)
    reveal_type(result.embeddings)
    reveal_type(result.provenance)
    reveal_type(client.wait(result.job, on_progress=lambda job: print(job.progress)))
    reveal_type([job for job in client.jobs(state="finished")])
    reveal_type(client.download(result.job, "talk.csv", format="csv"))


async def work() -> None:
    async with AsyncClient("http://127.0.0.1:8080") as client:
        reveal_type(await client.predict("talk.wav"))
        reveal_type([job async for job in client.jobs()])
"""
REVEALED = [
    "emow2v.client.sync.Client",
    "numpy.ndarray[tuple[Any, ...], numpy.dtype[numpy.float64]]",
    "numpy.ndarray[tuple[Any, ...], numpy.dtype[numpy.floating[numpy._typing._nbit_base._32Bit]]] | None",
    "typing.Mapping[str, str | float]",
    "emow2v.client.answers.Job",
    "list[emow2v.client.answers.Job]",
    "pathlib.Path",
    "emow2v.client.answers.Result",
    "list[emow2v.client.answers.Job]",
]
WRONG = {
    'client.predict("talk.wav", unit="words")': "arg-type",
    'client.predict("talk.wav", frame_stp="40ms")': "call-arg",
    'client.jobs(state="done")': "arg-type",
    'Client("http://a", tokn="t")': "call-arg",
}


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The client and what it imports, as a user's mypy sees it; the rest of the package takes minutes."""
    source, copied = Path(__file__).parents[2] / "src" / "emow2v", tmp_path / "emow2v"
    for name in ("client", "storage"):
        shutil.copytree(source / name, copied / name)
    for name in ("errors.py", "_version.py", "py.typed"):
        shutil.copy(source / name, copied / name)
    (copied / "__init__.py").touch()
    return tmp_path


def checked(folder: Path, program: str) -> str:
    (folder / "program.py").write_text(program, encoding="utf-8")
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file", "", "program.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout


@pytest.mark.slow
def test_programs_are_checked(package: Path) -> None:
    said = checked(package, PROGRAM)
    revealed = [line.partition('Revealed type is "')[2].rstrip('"') for line in said.splitlines() if "Revealed" in line]
    assert [one.replace("builtins.", "") for one in revealed] == REVEALED and "Success" in said, said
    lines = "\n".join(WRONG)
    said = checked(package, f'from emow2v.client import Client\nclient = Client("http://a")\n{lines}\n')
    for number, kind in enumerate(WRONG.values(), 3):
        assert any(f"program.py:{number}: error" in line and f"[{kind}]" in line for line in said.splitlines()), said
