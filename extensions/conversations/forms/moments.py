"""Times as other programs write them, as seconds since 1970."""

import re
import time
from datetime import UTC, datetime
from typing import Any

LATEST = 32_000_000_000.0
"""Some systems tell no date of a later moment, and of none before 1970."""
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
NAMED = re.compile(  # Nov 12, 2025 14:03 · June 19, 2023 4:13pm
    r"([A-Za-z]{3,9})\.? (\d{1,2}), (\d{4}),? (?:at )?(\d{1,2}):(\d\d)(?::(\d\d))? ?([ap]m)?", re.I
)
NAME = re.compile(r"(?:.*_)?(\d{8})[-T](\d\d)(-?)(\d\d)\3(\d\d)(?!\d).*", re.DOTALL)
"""Of files: 20240101-10-00-00 · Ada_20230401-101010."""
SPOKEN = re.compile(  # 2023-5-14 @16h 10m 25s 123ms · 2023-5-14@16h10m25s
    r"(\d{4})-(\d{1,2})-(\d{1,2}) ?@ ?(\d{1,2})h ?(\d{1,2})m ?(?:(\d{1,2})s)? ?(?:(\d{1,3})ms)?"
)


def seconds(value: Any) -> float:
    """A moment in one of the known forms (numbers may be milliseconds); 0 where it is none."""
    try:
        if isinstance(value, bool):
            return 0.0
        if isinstance(value, int | float):
            found = _number(float(value))
        else:
            found = _text(value.strip()[:64]) if isinstance(value, str) else 0.0
        return found if 0 <= found < LATEST else 0.0
    except (ValueError, OverflowError, OSError):
        return 0.0


def _number(value: float) -> float:
    return value / 1000 if value > 1e11 else max(value, 0.0)


def _text(text: str) -> float:
    if re.fullmatch(r"\d{9,16}(\.\d+)?", text):
        return _number(float(text))
    if found := NAMED.fullmatch(text):
        month = MONTHS.index(found[1][:3].lower()) + 1
        hour = int(found[4]) % 12 + 12 * (found[7].lower() == "pm") if found[7] else int(found[4])
        parts = int(found[3]), month, int(found[2]), hour, int(found[5]), int(found[6] or 0)
        return datetime(*parts).timestamp()
    if found := SPOKEN.fullmatch(text):
        year, month, day, hour, minute = (int(found[n]) for n in range(1, 6))
        thousandths = int(found[7] or 0) * 1000
        return datetime(year, month, day, hour, minute, int(found[6] or 0), thousandths).timestamp()
    return datetime.fromisoformat(text).timestamp()


def of_name(name: str) -> float:
    """The moment that a file of text-generation-webui is called after, no later than now; or 0."""
    found = NAME.fullmatch(name)
    if not found:
        return 0.0
    try:
        at = datetime.strptime(found[1] + found[2] + found[4] + found[5], "%Y%m%d%H%M%S")
        return min(max(at.timestamp(), 0.0), time.time())
    except (ValueError, OverflowError, OSError):
        return 0.0


def named(moment: float) -> str:
    """As text-generation-webui writes it: `Nov 12, 2025 14:03`."""
    at = time.localtime(moment)
    month = MONTHS[at.tm_mon - 1].capitalize()
    return f"{month} {at.tm_mday:02}, {at.tm_year} {at.tm_hour:02}:{at.tm_min:02}"


def iso(moment: float) -> str:
    """As SillyTavern writes it: `2025-11-12T14:03:20.125Z`."""
    at = datetime.fromtimestamp(moment, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03}Z"
