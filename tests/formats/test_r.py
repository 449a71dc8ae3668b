"""R reads every table as the page on formats says."""

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from commands import predictor
from emow2v.model import Model
from emow2v.modelstore.verify import EXAMPLE

PAGE = Path(__file__).parents[2] / "docs" / "formats.md"
PACKAGES = ("readxl", "haven", "jsonlite")


def test_r_reads_what_the_page_reads(lite: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = shutil.which("Rscript")
    if program is None:
        pytest.skip("R is not installed")
    found = "cat(all(sapply(c('{}'), requireNamespace, quietly = TRUE)))".format("', '".join(PACKAGES))
    if subprocess.run([program, "-e", found], capture_output=True, text=True, check=True).stdout != "TRUE":
        pytest.skip(f"packages of R are not installed: {', '.join(PACKAGES)}")
    pytest.importorskip("xlsxwriter")
    pytest.importorskip("pyreadstat")
    monkeypatch.chdir(tmp_path)
    shutil.copyfile(EXAMPLE, "talk.flac")
    predict = predictor(monkeypatch, lite)
    predict("talk.flac", "--speech", "--format", "csv,json", "-o", ".", "--frame-step", "500ms")
    for name, options in (("german.csv", ("--decimal", ",")), ("all.xlsx", ()), ("all.sav", ())):
        predict("talk.flac", "--speech", "--frame-step", "500ms", "--table", name, *options)
    (code,) = re.findall(r"```r\n(.*?)```", PAGE.read_text("utf-8"), re.S)
    tables = ("values", "german", "sheet", "spss", "rows")
    shown = "\n".join(
        f"cat(nrow({one}), sum(is.na({one}$arousal)), mean({one}$arousal, na.rm = TRUE), '\\n')" for one in tables
    )
    done = subprocess.run(
        [program, "-e", f"{code}\ncat('----\\n')\n{shown}"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = pd.read_csv("talk.csv")
    for line in done.stdout.partition("----\n")[2].splitlines():
        rows, missing, mean = map(float, line.split())
        assert (rows, missing) == (len(expected), expected.arousal.isna().sum())
        assert mean == pytest.approx(expected.arousal.mean(), abs=1e-4)
    assert done.stdout.count("\n", done.stdout.index("----\n")) == 1 + len(tables)
