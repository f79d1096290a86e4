"""Write docs/parameters.md from the one declaration: `python -m tools.parameters`."""

from collections.abc import Iterator
from pathlib import Path

from extensions.parameters.views import ALL
from kernel.api import Field, Parameter, Sampling, fields, parameters

FILE = Path(__file__).resolve().parent.parent / "docs" / "parameters.md"
HEAD = """# Parameters

Written by `python -m tools.parameters` from `kernel/sampling.py`; do not edit. These are the names
in the Parameters tab, in presets, and in what programs send. What a program leaves out is the
model's affair: its own files may say it, else it is neutral. *Neutral* is where a parameter changes
nothing. What the loaded model cannot honour is refused by name; the page leaves it out of its own
replies, and says so.
"""


def text() -> str:
    """The page."""
    forms = {field.name: field for field in fields(Sampling)}
    lines = [HEAD]
    for group in ALL:
        lines += [f"## {group}", "", "| | takes | slider | neutral | |", "|---|---|---|---|---|"]
        lines += rows(group, forms)
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def rows(group: str, forms: dict[str, Field]) -> Iterator[str]:
    for known in parameters().values():
        if known.group != group:
            continue
        field = forms[known.name]
        takes = "on or off" if field.kind == "choice" else field.wants
        does = known.help + (
            f" Only with `{'` or `'.join(known.tunes.split())}`." * bool(known.tunes)
        )
        cells = f"`{known.name}`", takes, slider(known, field), neutral(known), does
        yield "| " + " | ".join(cells) + " |"


def slider(known: Parameter, field: Field) -> str:
    low, high = known.shown if known.shown != (0, 0) else (field.low, field.high)
    if low is None or high is None or known.name == "seed":
        return ""
    step = known.step or (1 if isinstance(known.neutral, int | None) else 0.01)
    return f"{low:g} to {high:g}, step {step:g}"


def neutral(known: Parameter) -> str:
    if known.neutral is None:
        return "the model's"
    if isinstance(known.neutral, bool):
        return "on" if known.neutral else "off"
    if isinstance(known.neutral, tuple):
        return (
            ", ".join(f"`{each!r}`" if "\n" in each else f"`{each}`" for each in known.neutral)
            or "none"
        )
    return f"{known.neutral:g}" if isinstance(known.neutral, float | int) else "none"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
