"""What becomes of the recordings that were sent, when their jobs have ended: kept, kept as FLAC at 16 kHz, or removed."""

from __future__ import annotations

import logging
from pathlib import Path

from emow2v.audio.flac import MOST_CHANNELS, write_flac
from emow2v.audio.recording import open_recording
from emow2v.discover.places import Places, copy_of, original
from emow2v.errors import AudioError, Emow2vError
from emow2v.server.jobs import uploads
from emow2v.server.jobs.store import Job, Status, Store
from emow2v.server.jobs.task import Task, task_of
from emow2v.server.options import KeepUploads

logger = logging.getLogger("emow2v.server")

REMOVED = "The recording was removed when the job had ended, as the administrator has chosen; it cannot be heard again."
COPIED = "The recording was replaced by a copy at 16 kHz when the job had ended; its picture and higher tones are gone."


class Settling:
    """Does once for each ended job what the administrator has chosen for its recordings.

    Args:
        keep: yes, flac or no
    """

    def __init__(self, store: Store, places: Places, keep: KeepUploads) -> None:
        self._store, self._places, self._keep = store, places, keep
        self._done: set[int] = set()  # numbers of jobs

    def settle(self) -> None:
        """Go through the jobs that have ended since the last time."""
        if self._keep == "yes":
            return
        ended = {job.number: job for job in self._store.all() if _is_over(job)}
        for number, job in ended.items():
            if number not in self._done and self._settle(job):
                self._done.add(number)
        self._done &= ended.keys()

    def _settle(self, job: Job) -> bool:
        """Whether nothing is left to do for a job."""
        task, done = task_of(self._store.whole(job), self._places), True
        said: set[str] = set()
        for path in sorted(task.uploads()):
            if not path.is_file():
                continue
            if self._store.mentions(original(path).name, job.owner, going_on=True):
                done = False  # the other job settles it, or this one does later
            elif self._keep == "no":
                uploads.remove(path)
                said.add(REMOVED)
            elif self._copy(job, task, path):
                said.add(COPIED)
        if said:
            self._store.add_notices(job, sorted(said))
        return done

    def _copy(self, job: Job, task: Task, path: Path) -> bool:
        """Replace a recording by its copy; gives whether it was replaced. Files with turns, and what nobody can decode, stay."""
        copy = copy_of(path)
        try:
            is_turns = job.kind == "prediction" and path != task.recording(0)
            if original(path) != path or is_turns or task.track_choice.get("track"):
                return False
            opened = open_recording(path)
            opened.close()
            channels = int(opened.facts["channels"] or 1)
            if channels > MOST_CHANNELS:
                return False
            write_flac([open_recording(path, channel=number + 1) for number in range(channels)], copy)
        except AudioError:
            return False
        except (Emow2vError, OSError) as error:  # such as a full disk
            logger.error("a recording could not be copied as FLAC (%s)", error)
            return False
        path.unlink(missing_ok=True)
        return True


def _is_over(job: Job) -> bool:
    """Whether a job has ended, and no worker uses its recordings any more."""
    return job.status.ended and not (job.status is Status.CANCELED and job.worker)
