"""The job table as one page that needs nothing from outside."""

from __future__ import annotations

from html import escape
from urllib.parse import quote

from emow2v._version import __version__

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .35rem .75rem; border-bottom: 1px solid #8884; }
td.error, p.error { color: #c33; }
"""


def job_page(jobs: list[dict[str, str | bool]], model: str) -> str:
    """HTML with the newest job first; it asks for itself again every 5 s."""
    rows = "\n".join(_row(job) for job in reversed(jobs)) or '<tr><td colspan="6">No jobs yet.</td></tr>'
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>emow2v jobs</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>
<body>
<h1>emow2v</h1>
<p>Model {escape(model)}, emow2v {escape(__version__)}. Times are UTC.</p>
<table>
<thead><tr><th>Job</th><th>Status</th><th>Progress</th><th>Started</th><th>Ended</th><th></th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</body>
</html>
"""


def login_page(*, wrong: bool) -> str:
    """HTML that asks for the token."""
    said = '<p class="error" role="alert">That is not the token.</p>' if wrong else ""
    return f"""<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>emow2v</title>
<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>
<body>
<h1>emow2v</h1>
{said}
<form method="post"><label>Token <input type="password" name="token" autocomplete="current-password" autofocus></label>
<button>Open</button></form>
<p>It was chosen when the server was started (--token, EMOW2V_TOKEN).</p>
</body>
</html>
"""


def _row(facts: dict[str, str | bool]) -> str:
    cells = "".join(f"<td>{escape(str(facts[key]))}</td>" for key in ("job_key", "status", "progress"))
    times = "".join(f"<td>{escape(str(facts[key]))}</td>" for key in ("start_time", "end_time"))
    error = f'<td class="error">{escape(str(facts["error"]))} ' if facts["error"] else "<td>"
    return f'<tr>{cells}{times}{error}<a href="/log/{quote(str(facts["job_key"]))}">log</a></td></tr>'
