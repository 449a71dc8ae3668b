"""The options of a server: each is written once, for `emow2v serve`, for `Server` and for its workers."""

# ruff: noqa: RUF009 (the calls in the dataclass make fields)

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from emow2v.stores import is_address

if TYPE_CHECKING:  # this module is read by every start of the command line
    from emow2v.model import Context
    from emow2v.nova.connection import Databases
    from emow2v.sources.web import Web

LogFormat = Literal["text", "json"]
KeepUploads = Literal["yes", "flac", "no"]

LOOPBACK = ("127.0.0.0/8", "::1")  # this machine

# Headings of `emow2v serve --help`
FOLDERS, ACCESS, WEB, NOVA, HTTPS, LIMITS, MODELS, JOBS = (
    "Folders",
    "Access",
    "Addresses",
    "NOVA's database",
    "HTTPS",
    "Limits",
    "Models in memory",
    "Jobs and log",
)


@dataclass(frozen=True)
class Spec:
    """How the command line shows an option.

    Attributes:
        help: one sentence
        flag: without the dashes; "" for the field's own name
        environment: whether EMOW2V_NAME sets it, too
        unit: of a number, or the kind of value, as `--help` shows it
        minimum, maximum: of a number; None for no bound
        shown: the default as text; False hides it
        heading: of `--help`
    """

    help: str
    flag: str = ""
    environment: bool = False
    unit: str = ""
    minimum: float | None = None
    maximum: float | None = None
    shown: str | bool = True
    heading: str = ""


def _option(default: Any, help: str, **spec: Any) -> Any:  # noqa: A002 (the command line's word)
    return field(default=default, metadata={"spec": Spec(help, **spec)})


@dataclass(frozen=True)
class ServerOptions:
    """The choices of an administrator.

    The fields from `model` to `context` mean what they mean to `emow2v.load` and `Model.predict`; threads are shared
    among the workers.
    """

    host: str = _option(
        "127.0.0.1",
        "Address to listen on; 0.0.0.0 lets other machines reach the server.",
        environment=True,
        unit="ADDRESS",
    )
    port: int = _option(
        8080, "Port to listen on; 0 chooses a free one.", environment=True, unit="N", minimum=0, maximum=65535
    )

    model: str = "lite"
    engine: str = "auto"
    precision: str = ""
    device: str = "auto"
    threads: int = 0
    context: Context = "window"

    data_dirs: Sequence[Path | str] = _option(
        (Path(),),
        "Folder that requests may read and write, or address of one (s3://) that they may read. May be repeated.",
        flag="data-dir", unit="DIR", environment=True, shown=".", heading=FOLDERS,
    )  # fmt: skip
    work_dir: Path | None = _option(
        None,
        "Folder for jobs, uploads and results to fetch, of one server at a time; by default a folder in EMOW2V_HOME.",
        unit="DIR", environment=True, heading=FOLDERS,
    )  # fmt: skip

    overwrite: bool = _option(
        False,
        "Requests of DISCOVER replace files and annotations that others made, as the reference does, but no locked ones.",
        heading=FOLDERS,
    )

    web_folder: Path | None = _option(
        None, "Folder that emow2v web build wrote; its page, which computes in the browser alone, is served at /alone/.",
        flag="web", unit="DIR", environment=True, heading=FOLDERS,
    )  # fmt: skip

    token: str = _option(
        "",
        "Access token that clients must send. Set it in the environment, where other users of the machine cannot see it.",
        unit="TEXT", environment=True, shown=False, heading=ACCESS,
    )  # fmt: skip
    insecure: bool = _option(
        False, "Listen on a public address without a token, because something else controls access.", heading=ACCESS
    )
    allow_hosts: Sequence[str] = _option(
        (),
        "Host name that the server answers to, besides its own address. May be repeated.",
        flag="allow-host", unit="NAME", environment=True, heading=ACCESS,
    )  # fmt: skip
    root_path: str = _option(
        "", "Path below which a reverse proxy shows the server, such as /emow2v, if it passes requests on unchanged.",
        unit="PATH", environment=True, shown=False, heading=ACCESS,
    )  # fmt: skip
    forwarded_allow: Sequence[str] = _option(
        LOOPBACK,
        "Address or network of a reverse proxy whose X-Forwarded headers are believed. May be repeated.",
        unit="NETWORK", environment=True, shown=", ".join(LOOPBACK), heading=ACCESS,
    )  # fmt: skip

    allow_sources: Sequence[str] = _option(
        (),
        "Host, or HOST:PORT, whose recordings requests may name by address (http, https). None by default. May be repeated.",
        flag="allow-source", unit="HOST", environment=True, heading=WEB,
    )  # fmt: skip
    allow_networks: Sequence[str] = _option(
        (),
        "Network that is not public, such as 10.1.0.0/16, in which such hosts may lie. None by default. May be repeated.",
        flag="allow-network", unit="NETWORK", environment=True, heading=WEB,
    )  # fmt: skip
    fetch_minutes: float = _option(
        60, "Minutes that one recording at an address may be waited for, in all.",
        unit="MINUTES", minimum=0.1, maximum=1440, heading=WEB,
    )  # fmt: skip

    allow_callbacks: Sequence[str] = _option(
        (),
        "Host, or HOST:PORT, to which jobs of /v1 may report their end. None by default. May be repeated.",
        flag="allow-callback", unit="HOST", environment=True, heading=WEB,
    )  # fmt: skip
    callback_keys: Path | None = _option(
        None, "File with the keys that sign callbacks: an id, a blank and a secret in each line.",
        unit="FILE", environment=True, heading=WEB,
    )  # fmt: skip
    callback_names: bool = _option(
        False, "Callbacks also say the name of the recording, and the error of a job.", heading=WEB
    )

    allow_databases: Sequence[str] = _option(
        (),
        "Host, or HOST:PORT, of a database of NOVA (MongoDB) that requests may use. None by default. May be repeated.",
        flag="allow-database", unit="HOST", environment=True, heading=NOVA,
    )  # fmt: skip
    database_user: str = _option(
        "",
        "User of the database for requests that bring none.",
        unit="TEXT",
        environment=True,
        shown=False,
        heading=NOVA,
    )
    database_password: str = _option(
        "",
        "Password of that user. Set it in the environment, where other users of the machine cannot see it.",
        unit="TEXT", environment=True, shown=False, heading=NOVA,
    )  # fmt: skip
    database_ca: Path | None = _option(
        None,
        "Certificates of authorities (PEM) that vouch for the database, instead of the known ones.",
        unit="FILE", environment=True, heading=NOVA,
    )  # fmt: skip
    database_no_tls: bool = _option(
        False, "Connect to the database without TLS, which it does not speak in NOVA's own installation.", heading=NOVA
    )

    tls_cert: Path | None = _option(
        None, "Certificate (PEM) with which the server speaks HTTPS.", unit="FILE", environment=True, heading=HTTPS
    )
    tls_key: Path | None = _option(
        None, "Private key (PEM) of the certificate.", unit="FILE", environment=True, heading=HTTPS
    )
    tls_self_signed: bool = _option(
        False,
        "Speak HTTPS with a certificate made here, which NOVA accepts. Requires the extra tls.",
        heading=HTTPS,
    )

    max_upload_mb: float = _option(
        2000,
        "Largest request, or recording at an address, in megabytes; 0 for no limit.",
        flag="max-upload",
        unit="MB",
        minimum=0,
        heading=LIMITS,
    )
    max_duration_h: float = _option(
        24, "Longest recording in hours; 0 for no limit.", flag="max-duration", unit="HOURS", minimum=0, heading=LIMITS
    )
    max_waiting: int = _option(
        10_000, "Number of jobs that may wait in the queue; 0 for no limit.", unit="N", minimum=0, heading=LIMITS
    )
    max_waiting_each: int = _option(
        0,
        "Number of jobs of each name that may wait (see emow2v tokens); 0 for no limit.",
        unit="N", minimum=0, heading=LIMITS,
    )  # fmt: skip
    max_hours_each: float = _option(
        0, "Hours of sound that each name may send on a day (UTC), in jobs and live streams; 0 for no limit.",
        unit="HOURS", minimum=0, heading=LIMITS,
    )  # fmt: skip
    max_kept_each_mb: float = _option(
        0, "Megabytes of uploads and results that each name may keep; 0 for no limit.",
        flag="max-kept-each", unit="MB", minimum=0, heading=LIMITS,
    )  # fmt: skip
    max_disk_gb: float = _option(
        0, "Gigabytes that the work folder may have: the oldest recordings and jobs that have ended go first; 0 for no limit.",
        flag="max-disk", unit="GB", environment=True, minimum=0, heading=LIMITS,
    )  # fmt: skip
    max_streams: int = _option(
        0,
        "Number of live streams at the same time; 0 for as many as the machine computes in real time, as measured.",
        unit="N", minimum=0, heading=LIMITS,
    )  # fmt: skip

    warm: Sequence[str] = _option(
        (),
        "Models, besides the server's own, that every worker loads at its start and keeps: NAME, or NAME,NAME. May be repeated.",
        unit="MODEL,...", environment=True, heading=MODELS,
    )  # fmt: skip
    max_models: int = _option(
        2, "Number of models that each process keeps in memory; the one used longest ago is unloaded first.",
        unit="N", minimum=1, heading=MODELS,
    )  # fmt: skip
    max_models_memory_mb: float = _option(
        0, "Megabytes of models that each process keeps, as measured when they are loaded; 0 for no limit.",
        flag="max-models-memory", unit="MB", environment=True, minimum=0, heading=MODELS,
    )  # fmt: skip
    model_idle_min: float = _option(
        0, "Minutes without use after which another model leaves the memory; 0 for never.",
        flag="model-idle", unit="MINUTES", minimum=0, heading=MODELS,
    )  # fmt: skip

    workers: int = _option(
        1, "Processes that run jobs, each with its own copy of the model in memory.",
        unit="N", environment=True, minimum=1, maximum=64, heading=JOBS,
    )  # fmt: skip
    keep_jobs: int = _option(
        1000, "Number of finished jobs to keep, with their results.", unit="N", minimum=0, heading=JOBS
    )
    keep_uploads: KeepUploads = _option(
        "yes",
        "What becomes of a recording that was sent when its job has ended: kept, kept as FLAC at 16 kHz, or removed.",
        unit="yes|flac|no", environment=True, heading=JOBS,
    )  # fmt: skip
    keep_days: float = _option(
        30,
        "Number of days to keep finished jobs, with their results.",
        unit="DAYS",
        minimum=0,
        maximum=36_500,
        heading=JOBS,
    )
    patience_s: float = _option(
        10,
        "Seconds that running jobs may take to finish when the server is stopped by SIGTERM.",
        flag="patience", unit="SECONDS", minimum=0, heading=JOBS,
    )  # fmt: skip
    nova_status: bool = _option(
        False, "Report cancelled jobs with status 3, because NOVA does not know status 4.", heading=JOBS
    )
    log_format: LogFormat = _option(
        "text",
        "Format of the log: text, or one JSON object per line.",
        unit="text|json",
        environment=True,
        heading=JOBS,
    )

    @property
    def data_folders(self) -> list[Path]:
        """The data folders here."""
        return [Path(one) for one in self.data_dirs if not is_address(str(one))]

    @property
    def data_stores(self) -> tuple[str, ...]:
        """The data folders at addresses, which are only read."""
        return tuple(str(one) for one in self.data_dirs if is_address(str(one)))

    @property
    def lists_data(self) -> bool:
        """Whether clients may see what lies in the data folders: where the administrator named them."""
        return self.data_dirs is not ServerOptions.data_dirs

    @property
    def max_duration_s(self) -> float:
        """Longest recording in seconds; 0 for no limit."""
        return self.max_duration_h * 3600

    @property
    def web(self) -> Web:
        """The addresses of recordings that requests may name."""
        from emow2v.sources.web import Web

        return Web(tuple(self.allow_sources), tuple(self.allow_networks), self.max_body, self.fetch_minutes * 60)

    @property
    def callback_web(self) -> Web:
        """The addresses that callbacks may go to."""
        from emow2v.sources.web import Web

        return Web(tuple(self.allow_callbacks), tuple(self.allow_networks), option="--allow-callback")

    @property
    def databases(self) -> Databases:
        """The databases of NOVA that requests may name."""
        from emow2v.nova.connection import Credentials, Databases

        credentials = Credentials(self.database_user, self.database_password)
        return Databases(tuple(self.allow_databases), credentials, not self.database_no_tls, self.database_ca)

    @property
    def warm_models(self) -> tuple[str, ...]:
        """Names of the models, besides the server's own, that stay in memory."""
        names = (name.strip() for text in self.warm for name in text.split(","))
        return tuple(dict.fromkeys(filter(None, names)))

    @property
    def max_body(self) -> int:
        """Largest request in bytes; 0 for no limit."""
        return round(self.max_upload_mb * 1e6)
