"""`emow2v backup` and `emow2v restore`: the work folder of a server in one file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emow2v.cli.console import output, stoppable
from emow2v.cli.service.tokens import WorkDirOption
from emow2v.storage import counted
from emow2v.storage.home import home

if TYPE_CHECKING:
    from emow2v.server.work_folder.backup import Summary


@stoppable
def backup(
    archive: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The backup, such as backup.zip.", show_default=False)
    ],
    work_dir: WorkDirOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Write the jobs, uploads, results and tokens of a server into one file, with a hash of each.

    The server may run meanwhile: the file holds the work folder of one moment. Recordings and results below data folders are
    not in it.
    """
    from emow2v.server.extra import check_installed

    check_installed("emow2v backup")
    from emow2v.server.work_folder.backup import back_up

    _say("backed up", back_up(_folder(work_dir), archive, overwrite=overwrite))


@stoppable
def restore(
    archive: Annotated[Path, typer.Argument(metavar="FILE", help="A file that emow2v backup has written.")],
    work_dir: WorkDirOption = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what the work folder holds.")] = False,
) -> None:
    """Put the files of a backup into a work folder that no server uses; a damaged backup changes nothing."""
    from emow2v.server.extra import check_installed

    check_installed("emow2v restore")
    from emow2v.server.work_folder import restore as module

    _say("restored", module.restore(archive, _folder(work_dir), overwrite=overwrite))


def _folder(work_dir: Path | None) -> Path:
    return work_dir or home() / "server"


def _say(what: str, summary: Summary) -> None:
    jobs, files = counted(summary.jobs, "job"), counted(summary.files, "file")
    output.print(f"{what}: {jobs}, {files}, {summary.size / 1e6:.1f} MB, as of {summary.made}")
