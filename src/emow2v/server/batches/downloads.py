"""The results of a job of many recordings: its table, and one zip with those of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from fastapi import HTTPException, Request
from fastapi.responses import Response

from emow2v import storage
from emow2v.archive.journal import failures
from emow2v.errors import RequestError
from emow2v.server.batches.task import TABLES, BatchTask
from emow2v.server.jobs import results
from emow2v.server.jobs.store import Job
from emow2v.server.jobs.task import task_of
from emow2v.server.resources.conditions import tag_of
from emow2v.server.resources.file_answer import answer_with, disposition
from emow2v.server.routes import views
from emow2v.server.state import ServerState

_STORED = {"csvw": ("csv", "csv-metadata.json"), "npz": ("npz",)}  # files that the run wrote


def zip_of(
    task: BatchTask, provenance: Mapping[str, str | float], done: Sequence[int], file_format: str, folder: Path
) -> Path:
    """Write the results of each recording into a zip, in the folders of the recordings, with the list of failures.

    Args:
        provenance: of the job
        done: numbers of the recordings that have results
        file_format: as for `results.export`
        folder: an empty folder to write into

    Returns:
        the zip

    Raises:
        RequestError: the job has no such results
    """
    if file_format in results.WITH_EMBEDDINGS and not task.embeddings:
        raise RequestError("The job kept no embeddings; expected one that was posted with embeddings=true.")
    files, dates = dict[str, Path](), dict[Path, results.Date]()
    for number in done:
        if file_format in _STORED:
            found = [task.file(number, ending) for ending in _STORED[file_format]]
        else:
            place = folder / str(number)
            place.mkdir()
            stem = task.file(number).name.removesuffix(".csv")
            found = results.files_of(task, provenance, number, file_format, place, stem)
        inside = f"{task.chosen[number].folder}/" if task.chosen[number].folder else ""
        found = [path for path in found if storage.is_file(path)]
        files |= {inside + path.name: path for path in found}
        dates |= dict.fromkeys(found, results.computed(task, number))
    if storage.is_file(task.folder / failures.NAME):
        files[failures.NAME] = path = task.folder / failures.NAME
        dates[path] = results.date_of([path])
    return results.zip_files(folder / "results.zip", files, dates=dates)


def table_of_all(job: Job, state: ServerState, file_format: str, request: Request) -> Response:
    """The answer with the table of a job of many recordings: the stored file, or one made of the rows that were kept."""
    views.check_finished(job)
    task = task_of(job, state.places)
    assert isinstance(task, BatchTask)
    chosen = file_format or task.default_format
    if chosen not in TABLES:
        raise HTTPException(
            422, f"format is '{chosen}'; expected {', '.join(TABLES)} for the table of all, or a session."
        )
    kind, name = TABLES[chosen], f"results.{chosen}"
    stored = views.or_404(lambda: task.stored(chosen))

    def tag() -> str:  # the table is written once, when the job ends
        now = state.jobs.now(job)
        if now is None or now.number != job.number:
            raise HTTPException(404, f"The job {job.id} was erased.")
        return tag_of([chosen, job.owner, job.number, job.posted, *([] if stored else results.made_by())])

    if stored is not None:
        return answer_with(
            request, tag, lambda: views.open_file(stored), media_type=kind, headers=views.PRIVATE | disposition(name)
        )
    done = [one.place for one in state.store.recordings(job) if one.state == "done"]
    beside = state.places.of(job.owner).results(job.id)
    return views.made_answer(
        request, tag, beside, lambda folder: task.make_table(folder, chosen, done), media_type=kind, filename=name
    )
