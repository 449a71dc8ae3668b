"""What every benchmark shares: the machine's own peak, tables, JSON beside them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from emow2v.engines import cores
from emow2v.engines.openvino import import_openvino, openvino_core

FOLDER = Path(__file__).resolve().parents[1] / "build" / "benchmarks"
SIZES = (2048, 4096)  # of the square matrices that the peak is measured with

console = Console(width=None if sys.stdout.isatty() else 140)  # whole rows, also in a file


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def peak_gflops(precision: str = "fp32") -> float:
    """The fastest of what NumPy, PyTorch and OpenVINO make of products of square matrices, all cores."""
    best = 0.0
    for size in SIZES:
        matrix = np.random.default_rng(0).normal(size=(size, size)).astype(np.float32)
        tensor = torch.from_numpy(matrix).to({"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
        works: list[Callable[[], object]] = [
            lambda tensor=tensor: tensor @ tensor,
            _openvino_product(matrix, precision),
        ]  # type: ignore[misc]
        if precision == "fp32":
            works.append(lambda matrix=matrix: matrix @ matrix)  # type: ignore[misc]
        for work in works:
            work()
            best = max(best, *(2 * size**3 / seconds(work) / 1e9 for _ in range(4)))
    return best


def _openvino_product(matrix: np.ndarray[Any, Any], precision: str) -> Callable[[], object]:
    openvino = import_openvino()
    operations = openvino.opset13
    given = operations.parameter(list(matrix.shape), np.float32)
    model = openvino.Model([operations.matmul(given, operations.constant(matrix), False, True)], [given])
    hint = {"fp32": "f32", "bf16": "bf16"}[precision]
    config = {"INFERENCE_PRECISION_HINT": hint, "INFERENCE_NUM_THREADS": str(cores())}
    request = openvino_core().compile_model(model, "CPU", config).create_infer_request()
    tensor = openvino.Tensor(matrix, shared_memory=True)
    return lambda: request.infer([tensor], share_outputs=True)


def parser(text: str | None) -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=Path, help="where the figures go; build/benchmarks/NAME.json by default")
    return made


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    table = Table(*columns, title=title, title_justify="left")
    for row in rows:
        table.add_row(*(text(cell) for cell in row))
    console.print(table)


def text(cell: object) -> str:
    if not isinstance(cell, float):
        return "" if cell is None else str(cell)
    return f"{cell:.0f}" if abs(cell) >= 100 else f"{cell:.2f}" if abs(cell) >= 1 else f"{cell:.4f}"


def interval(figure: Mapping[str, float | None]) -> str:
    """A figure as `Figure.to_json` gives it, with its interval where it has one."""
    value, low, high = (figure[name] for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return "" if value is None else f"{value:.2f}"
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def keep(name: str, figures: dict[str, object], path: Path | None) -> None:
    """Write the figures with what they were measured on."""
    path = path or FOLDER / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    machine = {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": processor(),
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "openvino": import_openvino().__version__,
    }
    path.write_text(json.dumps({"machine": machine, **figures}, indent=1) + "\n")
    console.print(f"figures: {os.path.relpath(path)}")


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    words = [
        one
        for one in ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx_vnni", "amx_bf16")
        if one in found.get("flags", "").split()
    ]
    return f"{found.get('model name', platform.processor())} ({', '.join(words)})"
