"""Files of streams that the database names: DATASET/SESSION/ROLE.NAME.ENDING below the data folders."""

from __future__ import annotations

from emow2v.discover.places import Places
from emow2v.errors import RequestError
from emow2v.storage import shown


def file_uri(dataset: str, session: str, file: str) -> str:
    """The path of a stream's file, relative to a data folder.

    Raises:
        RequestError: a name that is no single part of a path
    """
    for what, name in (("dataset", dataset), ("session", session), ("file of the stream", file)):
        if not name.strip(" .") or any(sign in name for sign in "/\\\0:"):
            raise RequestError(f"The {what} {shown(name)} cannot be part of a path; expected a name without / and \\.")
    return f"{dataset}/{session}/{file}"


def output_uri(places: Places, dataset: str, session: str, file: str) -> str:
    """The path of a stream to write: in the data folder that has the dataset, else in the first.

    Raises:
        RequestError: a name that is no single part of a path
    """
    uri = file_uri(dataset, session, file)
    folders = [one for one in places.data_dirs if (one / dataset).is_dir()] or [*places.data_dirs[:1]]
    return str(folders[0] / uri) if folders else uri  # which is refused where data folders are only read
