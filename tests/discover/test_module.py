"""The options of the module are one list: of requests to emow2v serve, of the drop-in module, of its trainer file."""

import re
from pathlib import Path

from emow2v.discover import module, options
from emow2v.engines import ENGINES, PRECISIONS

FOLDER = Path(__file__).parents[2] / "modules" / "emow2v"


def test_the_trainer_file_of_the_drop_in_module_has_the_list() -> None:
    text = (FOLDER / "emow2v.trainer").read_text("utf-8")
    assert re.findall('optstr="([^"]*)"', text) == [module.DROP_IN_OPTIONS]


def test_its_page_has_the_list() -> None:
    rows = re.findall(r"^\| `(\w+)` \| `?(\w+)`? \|", (FOLDER / "README.md").read_text("utf-8"), re.MULTILINE)
    assert dict(rows) == {option.name: option.default for option in module.OPTIONS if option.drop_in}


def test_choices_are_those_of_the_engines() -> None:
    choices = {option.name: option.choices for option in module.OPTIONS}
    assert choices["engine"] == ("auto", *ENGINES) and choices["precision"] == tuple(PRECISIONS)
    assert all(option.default in option.choices for option in module.OPTIONS if option.choices)


def test_requests_to_the_server_take_the_other_list() -> None:
    assert options.OPTIONS == ("batch_size", "channel", "context", "model", "overwrite", "speech", "track")
    assert options.unknown_options(dict.fromkeys(options.OPTIONS)) == set()
