"""The module `emow2v` as DISCOVER describes modules: its ports and options, as a trainer file and as /cml_info answers."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal
from xml.sax.saxutils import quoteattr

from emow2v.discover import json_text
from emow2v.errors import RequestError
from emow2v.trajectory import DIMENSIONS


@dataclass(frozen=True)
class Port:
    """An input or output of the module."""

    direction: Literal["input", "output"]
    id: str
    data: str
    default: str
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """An option of the module.

    Attributes:
        name: as requests spell it
        default: the value where a request does not set it; the first of `choices`
        choices: values that a client may offer in a list; empty for any text
        server, drop_in: whether requests to `emow2v serve`, and to a stock server with modules/emow2v, may set it
        listed: whether the answer of /cml_info offers it
    """

    name: str
    default: str = ""
    choices: tuple[str, ...] = ()
    server: bool = False
    drop_in: bool = False
    listed: bool = False

    def __str__(self) -> str:
        """The option as trainer files write it."""
        kind = "LIST" if self.choices else "STRING"
        return f"{{{self.name}:{kind}:{','.join(self.choices) or self.default}}}"


# Engine and precision are the administrator's choice at `emow2v serve`; a stock server decodes and has no shared context.
OPTIONS = (
    Option("batch_size", "250", server=True, drop_in=True, listed=True),
    Option("model", "lite", server=True, drop_in=True),
    Option("engine", "auto", ("auto", "openvino", "onnxruntime", "torch"), drop_in=True),
    Option("precision", "fp32", ("fp32", "bf16", "fp16", "int8"), drop_in=True),
    Option("channel", "mix", server=True),
    Option("context", "window", ("window", "shared"), server=True),
    Option("overwrite", "false", ("false", "true"), server=True),
    Option("speech", "false", ("false", "true"), server=True),
    Option("track", server=True),
)
DROP_IN_OPTIONS = ";".join(str(option) for option in OPTIONS if option.drop_in)


@dataclass(frozen=True)
class Module:
    """A module of DISCOVER: a trainer file and the script that it names."""

    name: str
    class_name: str
    category: str
    description: str
    frame_step_ms: int
    left_context_ms: int
    right_context_ms: int
    options: str
    ports: tuple[Port, ...]

    @property
    def path(self) -> str:
        return f"modules/{self.name}/{self.name}.trainer"

    def answers_to(self, trainer_path: str) -> bool:
        """True for the trainer's path as published, without `modules`, or bare; with / or \\, single or doubled."""
        parts = [part for part in re.split(r"[\\/]+", trainer_path.strip()) if part not in ("", ".")]
        full = ["modules", self.name, f"{self.name}.trainer"]
        return bool(parts) and parts == full[-len(parts) :]

    def port(self, direction: str, name: str) -> Port | None:
        """The input or output of that id, or of one of its aliases."""
        for port in self.ports:
            if port.direction == direction and name in (port.id, *port.aliases):
                return port
        return None


MODULE = Module(
    name="emow2v",
    class_name="EmoW2V",
    category="Voice",
    description="Arousal, dominance and valence of speech over time, and the embeddings behind them.",
    frame_step_ms=40,
    left_context_ms=960,
    right_context_ms=0,
    options=";".join(str(option) for option in OPTIONS if option.listed),
    ports=(
        Port("input", "audio", "stream:Audio", "audio"),
        *(Port("output", name, "annotation:Continuous", name) for name in DIMENSIONS),
        Port("output", "embedding", "stream:SSIStream", "emow2v", aliases=("embeddings",)),
    ),
)


def trainer_xml(module: Module = MODULE) -> str:
    """The module's trainer file."""
    ios = "\n".join(
        f"        <io type={quoteattr(port.direction)} id={quoteattr(port.id)} data={quoteattr(port.data)} "
        f"default_value={quoteattr(port.default)} />"
        for port in module.ports
    )
    return f"""<?xml version="1.0" encoding="utf-8"?>
<trainer ssi-v="5">
    <info trained="true" />
    <meta frameStep="{module.frame_step_ms}ms" leftContext="{module.left_context_ms}ms" \
rightContext="{module.right_context_ms}" category={quoteattr(module.category)} backend="nova-server" \
is_iterable="True" description={quoteattr(module.description)}>
{ios}
    </meta>
    <model create={quoteattr(module.class_name)} script="{module.name}.py" optstr={quoteattr(module.options)} />
</trainer>
"""


def cml_info(input_filter: str | None = None, output_filter: str | None = None) -> dict[str, dict[str, str]]:
    """The answer of /cml_info: maps of JSON texts by trainer path.

    Args:
        input_filter, output_filter: JSON lists of "super[:sub[:specific]]"; a module is listed when each
            of its inputs (outputs) is matched by one and each one matches something

    Raises:
        RequestError: a filter that is not a JSON list of texts
    """
    by_direction = {"input": _filters(input_filter, "input_filter"), "output": _filters(output_filter, "output_filter")}
    listed = all(
        filters is None or _matches(filters, [port.data for port in MODULE.ports if port.direction == direction])
        for direction, filters in by_direction.items()
    )
    trainers = {MODULE.path: json.dumps(_entry(MODULE))} if listed else {}
    return {"chains_faulty": {}, "chains_ok": {}, "trainer_faulty": {}, "trainer_ok": trainers}


def _filters(text: str | None, field: str) -> list[str] | None:
    if not text:
        return None
    try:
        filters = json_text.parse(text)
    except json_text.NotJSON:
        filters = None
    if not isinstance(filters, list) or not all(isinstance(item, str) for item in filters):
        raise RequestError(f'{field} is not a JSON list of texts; expected for instance ["stream:Audio"].')
    return filters


def _matches(filters: list[str], ports: list[str]) -> bool:
    def match(pattern: str, port: str) -> bool:
        words, own = pattern.lower().split(":"), port.lower().split(":")
        return words[: len(own)] == own[: len(words)]

    return all(any(match(f, p) for p in ports) for f in filters) and all(
        any(match(f, p) for f in filters) for p in ports
    )


def _entry(module: Module) -> dict[str, object]:
    io = [
        {
            "type": port.direction,
            "id": port.id,
            "data": port.data,
            "default_value": port.default,
            "default_active": True,
        }
        for port in module.ports
    ]
    return {
        "model_script_path": f"{module.name}.py",
        "model_option_path": "",
        "model_option_string": module.options,
        "model_weights_path": "",
        "model_stream": "0",
        "model_create": module.class_name,
        "model_multirole_input": False,
        "model_multi_role_input": False,  # the name NOVA looks for
        "users": [],
        "classes": [],
        "streams": [],
        "register": [],
        "info_trained": True,
        "meta_frame_step": module.frame_step_ms,
        "meta_right_ctx": module.right_context_ms,
        "meta_left_ctx": module.left_context_ms,
        "meta_balance": "none",
        "meta_backend": "nova-server",
        "meta_io": json.dumps(io),
        "meta_uri": "[]",
        "meta_description": module.description,
        "meta_is_iterable": True,
        "meta_enable_post_process": True,
        "meta_category": module.category,
        "ssi_v": "5",
        "xml_version": "1.0",
    }


def default_times(module: Module = MODULE) -> dict[str, Fraction]:
    """Milliseconds that hold where a request says nothing."""
    return {
        "frame_size": Fraction(module.frame_step_ms),
        "left_context": Fraction(module.left_context_ms),
        "right_context": Fraction(module.right_context_ms),
    }
