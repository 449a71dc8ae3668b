"""The form of a prediction of /v1: formats, and fields with their defaults."""

FORMATS = {
    "json": "application/json", "csv": "text/csv; charset=utf-8", "ndjson": "application/x-ndjson",
    "parquet": "application/vnd.apache.parquet",
}  # fmt: skip
STEM = "result"
RECORDINGS = {"file": "upload", "path": "path", "url": "url"}  # fields of a request, and of its stored form
TIMES = {"frame_step": "40ms", "left_context": "960ms", "right_context": "0ms", "start": "0ms", "end": "0ms"}
# Turns of the detector: times of a form with their defaults; `speech.turns.turns` has the same options in milliseconds
DETECTION = {"shortest_turn": "250ms", "longest_turn": "15s", "bridged_pause": "300ms"}
