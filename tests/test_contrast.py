"""Every pair of colours that meets on the page can be read, in both themes (WCAG AA)."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CSS = (ROOT / "static" / "app.css").read_text("utf-8")
TOKENS = {
    name: (light, dark)
    for name, light, dark in re.findall(
        r"--([\w-]+): light-dark\((#[0-9a-f]{6}), (#[0-9a-f]{6})\)", CSS
    )
}
TEXT = [
    *(("ink", ground) for ground in ("paper", "surface", "raised", "code", "accent-wash")),
    *(("muted", ground) for ground in ("paper", "surface", "raised", "code", "accent-wash")),
    *(("accent", ground) for ground in ("paper", "surface", "raised", "accent-wash")),
    *(("danger", ground) for ground in ("paper", "surface", "danger-wash")),
    *((f"code-{kind}", "code") for kind in ("word", "name", "text", "number")),
    ("accent-ink", "accent"), ("ok", "code"), ("ok", "paper"),
    ("warn", "paper"), ("warn", "raised"),
    *(("speech", ground) for ground in ("paper", "surface", "raised", "accent-wash")),
]  # fmt: skip
SHAPES = [("edge", "paper"), ("edge", "surface"), ("surface", "edge"), ("accent", "surface")]
"""Borders of controls, the knob of a switch."""


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb, as WCAG 2.2 defines it."""
    shares = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (s / 12.92 if s <= 0.04045 else ((s + 0.055) / 1.055) ** 2.4 for s in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize(
    ("ink", "ground", "least"),
    [(*pair, 4.5) for pair in TEXT] + [(*pair, 3.0) for pair in SHAPES],
)
def test_can_be_read(ink: str, ground: str, least: float, theme: int) -> None:
    assert contrast(TOKENS[ink][theme], TOKENS[ground][theme]) >= least


def test_dots_of_icons_are_no_hairlines() -> None:
    """A dot is as wide as its line: too little for the eye, where no rule makes it wider."""
    icons = re.findall(r'"([\w-]+)": "(M[^"]+)"', (ROOT / "templates" / "_icon.html").read_text())
    thin = [name for name, path in icons if "h.01" in path]
    assert thin == ["grip"]
    assert ".handle .icon { stroke-width: 2.5; }" in CSS


def test_colours_are_tokens_only() -> None:
    """A colour written elsewhere would not follow the theme and is not measured."""
    rest = re.sub(r"^:root \{.*?^\}", "", CSS, count=1, flags=re.DOTALL | re.MULTILINE)
    files = [rest]
    for sheet in Path(__file__).parent.parent.glob("extensions/*/static/*.css"):
        files.append(sheet.read_text("utf-8"))
    for text in files:
        assert not re.findall(r"#[0-9a-f]{3,8}\b(?![^{]*\{)|\brgba?\(|\bhsla?\(", text)


@pytest.mark.parametrize(
    "file", [ROOT / "static" / "app.css", *sorted(ROOT.glob("extensions/*/static/*.css"))]
)
def test_no_rule_asks_has_of_the_whole_page(file: Path):
    """With each insertion anywhere, it would look through all of it: 7 ms in a long chat."""
    whole = re.search(r"(?<![.\w-])(body|html|:root|\.shell)[^\s,{]*:has\(", file.read_text())
    assert not whole, whole
