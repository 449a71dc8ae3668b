"""The errors that callers catch, and the names that the package exports."""

import subprocess
import sys

import pytest

import emow2v
from emow2v import errors
from emow2v.errors import exit_with_message

ERRORS = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, errors.Emow2vError)]


def test_every_error_is_exported() -> None:
    assert {one.__name__ for one in ERRORS} <= set(emow2v.__all__)
    assert all(getattr(emow2v, one.__name__) is one for one in ERRORS)


@pytest.mark.parametrize("name", emow2v.__all__)
def test_every_public_name_is_there_and_listed(name: str) -> None:
    assert getattr(emow2v, name) is not None and name in dir(emow2v)


def test_wrong_sound_and_wrong_times_are_value_errors() -> None:
    """As users of audinterface expect."""
    values = {one for one in ERRORS if issubclass(one, ValueError)}
    assert values == {errors.AudioError, errors.FramingError, errors.TooLong}


def test_importing_the_package_and_its_errors_imports_no_numpy() -> None:
    code = "import sys, emow2v; emow2v.AudioError, emow2v.PlaceTaken; print([m for m in ('numpy', 'pandas') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_an_entry_point_ends_with_the_sentence_of_an_error() -> None:
    @exit_with_message
    def main(error: Exception | None = None) -> int:
        if error:
            raise error
        return 7

    assert main() == 7
    with pytest.raises(SystemExit, match=r"^No such model\.$"):
        main(errors.ModelError("No such model."))
    with pytest.raises(ZeroDivisionError):
        main(ZeroDivisionError())
