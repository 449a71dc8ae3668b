"""Examples of /v1: answers by the name of their model, and values of form fields. Tests compare them with their schemas."""

from __future__ import annotations

from typing import Any

_PROVENANCE = {
    "model": "lite",
    "model_version": "2.0.0",
    "engine": "openvino",
    "duration_s": 12.84,
    "frame_step_ms": "40",
}

_FILE = {
    "number": 0,
    "name": "study1/talk.wav",
    "state": "done",
    "rows": 321,
    "seconds": 12.84,
    "error": "",
    "notices": [],
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "Problem": {"error": "No job 'talk1' is known; expected the id of a posted job."},
    "JobModel": {
        "id": "6f0c1d2e3a4b5c6d7e8f9a0b",
        "name": "talk.wav",
        "kind": "prediction",
        "state": "finished",
        "position": None,
        "rows": 321,
        "expected_rows": 321,
        "posted": "2026-11-26T13:45:00.120+00:00",
        "started": "2026-11-26T13:45:00.150+00:00",
        "ended": "2026-11-26T13:45:00.480+00:00",
        "error": "",
        "model": "lite",
        "provenance": _PROVENANCE,
        "owner": "anna",
        "files": None,
        "notices": [],
    },
    "CountsModel": {"all": 120, "done": 80, "failed": 2, "seconds": 1024.5, "seconds_left": 31.5},
    "JobFilesModel": {"first": 0, "total": 120, "files": [_FILE]},
    "JobFileModel": _FILE,
    "ModelModel": {
        "name": "lite",
        "version": "2.0.0",
        "description": "Small model for CPUs.",
        "licence": "CC-BY-NC-SA-4.0",
        "served": True,
        "in_memory": 2,
        "memory_mb": 112.4,
        "min_seconds": 0.1,
        "max_seconds": 15.0,
        "sampling_rate": 16000,
    },
    "DiskModel": {
        "used": 1200000000,
        "limit": 50000000000,
        "free": 310000000000,
        "uploads": 900000000,
        "results": 280000000,
        "keep_uploads": "yes",
    },
    "UploadModel": {
        "id": "abcdefghijkl.wav",
        "name": "talk.wav",
        "state": "unfinished",
        "offset": 200000000,
        "length": 300000044,
        "created": "2026-11-26T13:45:00+00:00",
        "expires": "2026-11-27T13:46:10+00:00",
        "receiving": False,
        "metadata": {"filename": "talk.wav"},
    },
    "FolderModel": {
        "listed": True,
        "folder": "study1",
        "folders": ["pilot"],
        "files": [{"name": "talk.wav", "path": "study1/talk.wav", "size": 411052, "turns": False}],
        "more": False,
    },
    "RowsModel": {
        "run": "",
        "first": 0,
        "total": 321,
        "complete": True,
        "turns": False,
        "embeddings": False,
        "columns": ["start", "end", "arousal", "dominance", "valence", "confidence"],
        "rows": [[0.0, 0.04, 0.612, 0.587, 0.431, 0.82]],
    },
    "WaveformModel": {
        "duration": 12.84,
        "channels": 2,
        "channel": "mix",
        "step": 0.0064,
        "lowest": [-0.0312, -0.0448],
        "highest": [0.0287, 0.0391],
    },
    "TurnsModel": {
        "source": "file",
        "name": "talk.eaf",
        "unit": "turn",
        "tiers": [
            {
                "name": "VP",
                "speaker": "Anna",
                "turns": [
                    {
                        "start": 0.42,
                        "end": 2.16,
                        "label": "well, yes",
                        "arousal": 0.612,
                        "dominance": 0.587,
                        "valence": 0.431,
                        "confidence": 0.82,
                        "n": 1,
                        "speech": 0.94,
                    }
                ],
            }
        ],
        "notices": [],
    },
    "CitationModel": {
        "methods": "Arousal, dominance and valence were computed with emow2v ...",
        "bibtex": "@software{emow2v, title = {EmoW2V}, ...}",
    },
}

# Of form fields, whichever route takes them
FIELDS: dict[str, Any] = {
    "path": "study1/talk.wav",
    "folder": "study1",
    "pattern": "session1/**/*.wav",
    "url": "https://archive.example.org/talk.wav",
    "upload": "abcdefghijkl.wav",
    "model": "lite",
    "unit": "turns",
    "format": "csv",
    "start": "10s",
    "end": "1500ms",
    "track": "2",
    "channel": "left",
    "segments_path": "study1/talk.eaf",
    "segments_url": "https://archive.example.org/talk.eaf",
    "tier": ["VP=right"],
    "callback": "https://lab.example.org/hook",
}
