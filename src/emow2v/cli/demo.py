"""`emow2v demo`: the published DISCOVER request on an example recording."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emow2v import storage
from emow2v.cli.console import output, stoppable
from emow2v.cli.options import OverwriteOption
from emow2v.errors import Emow2vError, FormatError, PlaceTaken

if TYPE_CHECKING:
    from rich.console import Console


@stoppable
def demo(
    to: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="Folder for the results.")] = Path(
        "emow2v-demo"
    ),
    overwrite: OverwriteOption = False,
) -> None:
    """Try it out: send the published request on a short example to a server, and show the results (extra server)."""
    run(to, output, overwrite=overwrite)


def request(folder: Path, recording: Path) -> dict[str, str]:
    """The form of the published EmoW2V request, for a recording and a folder of results."""
    from emow2v.trajectory import DIMENSIONS

    outputs = [
        {
            "src": "file:annotation:continuous",
            "type": "output",
            "id": name,
            "uri": str(folder / f"{recording.stem}.{name}.annotation"),
        }
        for name in DIMENSIONS
    ]
    data = [
        {"src": "file:stream:audio", "type": "input", "id": "audio", "uri": str(recording)},
        *outputs,
        {"src": "file:stream:SSIStream", "type": "output", "id": "embedding", "uri": str(folder / f"{recording.stem}.embeddings.stream")},
    ]  # fmt: skip
    return {"jobID": "demo", "data": json.dumps(data), "trainerFilePath": "modules\\emow2v\\emow2v.trainer"}


def run(folder: Path, console: Console, *, overwrite: bool = False) -> None:
    """Start a server on a free port, post the request, wait, show the results, stop the server.

    Args:
        overwrite: also replace files that emow2v did not write

    Raises:
        PlaceTaken: a file of that name exists, and emow2v did not write it
        Emow2vError: the folder cannot be written, or the request failed
    """
    from emow2v.server.extra import check_installed

    check_installed("emow2v demo")
    from emow2v.modelstore.verify import EXAMPLE
    from emow2v.server.run import Server

    folder = Path(os.path.abspath(folder))  # noqa: PTH100 (resolve raises where links lead in a circle)
    recording = folder / EXAMPLE.name
    try:
        _prepare(folder, recording, overwrite)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(EXAMPLE, recording)
    except OSError as error:
        raise Emow2vError(f"{folder} cannot be written ({error.strerror}); choose another folder with -o.") from None
    server = Server(port=0, data_dirs=[folder], work_dir=folder / "work")
    with server.running() as url:
        console.print(f"emow2v serves lite on {url}; posting the published request to {url}/process")
        _until_ready(url)
        started = time.monotonic()
        post(url, "process", request(folder, recording))
        status = wait(url, "demo")
        seconds = time.monotonic() - started
        if status != 2:
            raise Emow2vError(str(post(url, "log", {"jobID": "demo"})["message"]))
    _show(folder, recording, seconds, console)


def _prepare(folder: Path, recording: Path, overwrite: bool) -> None:
    """Refuse to replace files that emow2v did not write; with `overwrite`, remove them."""
    from emow2v import formats
    from emow2v.modelstore.verify import EXAMPLE
    from emow2v.storage.files import StagedFiles

    writers = formats.writers(("annotation", "stream"), folder, recording.stem)
    picture = folder / f"{recording.stem}.png"
    places = [*(place for writer in writers for place in writer.staged.places), picture]
    if overwrite:
        for place in places:
            place.unlink(missing_ok=True)
        return
    if storage.exists(recording) and recording.read_bytes() != EXAMPLE.read_bytes():
        raise PlaceTaken(
            f"{recording} is there already and is another recording",
            "choose another folder with -o, or replace it with --overwrite",
        )
    formats.check(writers)
    StagedFiles({picture: None}).check()


def _open(url: str, body: bytes | None = None) -> Any:
    """The answer of the server on this machine, whatever proxy the environment names."""
    import urllib.request  # here, since it takes time and every command loads this module

    return urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, body, timeout=60)


def post(url: str, route: str, form: dict[str, str]) -> dict[str, Any]:
    """Post a form and return the JSON answer."""
    from urllib.error import HTTPError
    from urllib.parse import urlencode

    try:
        with _open(f"{url}/{route}", urlencode(form).encode()) as response:
            answer: dict[str, Any] = json.load(response)
    except HTTPError as error:
        raise Emow2vError(json.load(error)["error"]) from None
    return answer


def _until_ready(url: str) -> None:
    """Wait until a worker has loaded its model."""
    from urllib.error import HTTPError

    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            with _open(f"{url}/readyz"):
                return
        except HTTPError:  # 503: not yet
            time.sleep(0.05)
    raise Emow2vError("The server was not ready within two minutes; run emow2v serve to see the reason.")


def wait(url: str, job_id: str) -> int:
    """Wait for a job to end, and return its status."""
    while True:
        status = int(post(url, "job_status", {"jobID": job_id})["status"])
        if status > 1:
            return status
        time.sleep(0.02)


def _show(folder: Path, recording: Path, seconds: float, console: Console) -> None:
    from rich.table import Table

    from emow2v.formats.ssi_read import read_annotation, read_stream
    from emow2v.trajectory import DIMENSIONS

    curves = {name: read_annotation(folder / f"{recording.stem}.{name}.annotation") for name in DIMENSIONS}
    for name, curve in curves.items():
        if not len(curve):
            raise Emow2vError(
                f"The request finished, but {name} has no values; expected one every 40 ms. Run the demonstration again."
            )
    stream = read_stream(folder / f"{recording.stem}.embeddings.stream")
    rate = curves["arousal"].sampling_rate or 25
    table = Table("seconds", *DIMENSIONS, box=None)
    for second in range(int(len(curves["arousal"]) / rate)):
        rows = slice(int(second * rate), int((second + 1) * rate))
        means = [f"{curve.values[rows].mean():.2f}" for curve in curves.values()]
        table.add_row(f"{second} to {second + 1}", *means)
    console.print(table)
    count, size = stream.data.shape
    console.print(
        f"{count} values a curve at {rate:g} a second and {count} x {size} embeddings, {seconds:.2f} s after the request."
    )
    console.print(f"Results: {folder}")
    for path in sorted(folder.glob(f"{recording.stem}.*[mn]")):
        console.print(
            f"  {path.name} ({path.stat().st_size + Path(f'{path}~').stat().st_size:,} bytes with its ~ file)"
        )
    try:
        console.print(f"  {_picture(folder, recording).name}")
    except FormatError as error:
        console.print(str(error))
    console.print(
        "Next: emow2v predict YOUR_RECORDING -o results, or emow2v serve for NOVA and browsers; emow2v --help."
    )


def _picture(folder: Path, recording: Path) -> Path:
    from emow2v.formats.plot import plot
    from emow2v.model import load

    path = folder / f"{recording.stem}.png"
    plot(load("lite").predict(recording), path)
    return path
