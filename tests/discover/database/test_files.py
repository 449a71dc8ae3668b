from pathlib import Path

import pytest

from emow2v.discover.database.files import file_uri, output_uri
from emow2v.discover.places import Places
from emow2v.errors import RequestError


@pytest.mark.parametrize("name", ["", ".", "..", " . ", "a/b", "a\\b", "C:", "a\0"])
def test_names_that_are_no_part_of_a_path_are_refused(name: str) -> None:
    for names in ((name, "first", "anna.audio.wav"), ("study", name, "anna.audio.wav"), ("study", "first", name)):
        with pytest.raises(RequestError, match="cannot be part of a path; expected a name without / and"):
            file_uri(*names)


def test_results_go_where_the_dataset_is(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("one", "two")]
    (folders[1] / "study").mkdir(parents=True)
    places = Places(folders, tmp_path / "work")
    assert Path(output_uri(places, "study", "first", "a.stream")) == folders[1] / "study" / "first" / "a.stream"
    assert Path(output_uri(places, "other", "first", "a.stream")) == folders[0] / "other" / "first" / "a.stream"


def test_results_are_refused_where_data_folders_are_only_read(tmp_path: Path) -> None:
    places = Places([], tmp_path / "work", stores=["memory://study"])
    with pytest.raises(RequestError, match="which are only read"):
        places.output(output_uri(places, "study", "first", "a.stream"), ".stream")
