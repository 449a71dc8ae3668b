"""Notices: sentences on missing or unusual parts of a recording."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from emow2v.storage import shown

Facts = Mapping[str, str | float]


def sentences(facts: Facts) -> list[str]:
    """One sentence for each kind of problem; the facts of a recording without problems give none."""
    return [sentence for sentence in (notice(facts) for notice in _NOTICES) if sentence]


def about(name: str, notices: Iterable[str]) -> tuple[str, ...]:
    """Notices with the recording's name before them, each once."""
    return tuple(f"{shown(name)}: {sentence}" for sentence in dict.fromkeys(notices))


def _tracks(facts: Facts) -> str:
    tracks = facts.get("tracks", 1)
    if float(tracks) < 2:
        return ""
    why = f" ({facts['track_why']})" if facts.get("track_why") else ""
    return f"It has {tracks} tracks of sound; track {facts['track']} was read{why}; the option track chooses another."


def _encoding(facts: Facts) -> str:
    if "assumed" not in facts:
        return ""
    return f"It has no header; it was read as {facts['assumed']}, which telephones use; if that is wrong, convert it to wav."


def _length(facts: Facts) -> str:
    if "stated_s" in facts:
        stated, ends = float(facts["stated_s"]), float(facts.get("ends_s", 0))
        if stated > ends:
            return f"It is cut off: it ends at {ends:.1f} s of the {stated:.1f} s that its header states."
        return f"Its header states {stated:.1f} s, but it lasts {ends:.1f} s; all of it was read."
    if "unread_behind_s" in facts:
        return (
            f"Its header states {float(facts['unread_behind_s']):.1f} s, but more sound follows, which cannot be read through a pipe; "
            "save the recording first, and name the file."
        )
    if "missing_bytes" in facts:
        return f"It is cut off: {facts['missing_bytes']} bytes or more are missing at its end."
    if "unfinished" in facts:
        return "It has no end mark: the recording was interrupted, or its end is missing."
    return ""


def _change(facts: Facts) -> str:
    if "changes_at_s" not in facts:
        return ""
    return (
        f"Its encoding changes at {float(facts['changes_at_s']):.1f} s, for example to other channels or another sampling rate; "
        "the sound after that was not read; split the recording there, and name its parts."
    )


def _damage(facts: Facts) -> str:
    if "damaged_packets" not in facts:
        return ""
    count, packets = facts["damaged_packets"], facts.get("packets", 0)
    filled = f"; {_seconds(facts['missing_s'])} without sound were filled with silence" if "missing_s" in facts else ""
    return f"It is damaged: {count} of {packets} packets cannot be decoded{filled}."


def _gaps(facts: Facts) -> str:
    if "missing_s" not in facts or "damaged_packets" in facts:
        return ""
    return f"It has gaps: {_seconds(facts['missing_s'])} without sound were filled with silence."


def _clock(facts: Facts) -> str:
    if "clock_jumps" not in facts:
        return ""
    times = "once" if facts["clock_jumps"] == 1 else f"{facts['clock_jumps']} times"
    at, by = float(facts["clock_jump_at_s"]), float(facts["clock_jump_s"])
    first = "" if facts["clock_jumps"] == 1 else "first "
    return (
        f"Its clock jumps {times} ({first}at {at:.1f} s by {by:+.1f} s): the pieces were joined without a gap, "
        "so times after a jump differ from those of the clock."
    )


def _rate(facts: Facts) -> str:
    if "rates" not in facts:
        return ""
    return f"Its sampling rate changes ({facts['rates']} Hz); each part was read at its own rate."


def _phase(facts: Facts) -> str:
    if "opposite_phase" not in facts:
        return ""
    return (
        "Its two channels are in opposite phase, so their mean cancels the voice; choose channel left or right instead."
    )


def _silence(facts: Facts) -> str:
    if "silent" in facts and facts.get("channel", "mix") != "mix":
        return f"Channel {facts['channel']}, which was read, holds nothing but silence; the option channel chooses another."
    if "silent" in facts:
        more = "; other tracks may hold the voice" if float(facts.get("tracks", 1)) > 1 else ""
        return f"It holds nothing but silence{more}."
    if "silent_channels" in facts:
        silent = str(facts["silent_channels"])
        verb = "Channels {} are silent" if "," in silent else "Channel {} is silent"
        return f"{verb.format(silent)}; the mean of all channels is therefore softer; the option channel chooses one."
    return ""


def _loudness(facts: Facts) -> str:
    if "peak" in facts:
        return f"Its samples reach {float(facts['peak']):g}, where -1..1 is expected; divide them by their full scale."
    if "clipped_share" in facts:
        return f"It is clipped: about {float(facts['clipped_share']):.1%} of its samples are at full scale."
    return ""


def _seconds(value: str | float) -> str:
    return f"{float(value):.1f} s" if float(value) >= 0.1 else f"{float(value) * 1000:.0f} ms"


_NOTICES = (_tracks, _encoding, _length, _change, _damage, _gaps, _clock, _rate, _phase, _silence, _loudness)
