"""What the sub-tabs of a text show."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from extensions.chat.api import Markdown
from kernel.api import Client, Extension, Refused

from .actions import View
from .asking import Asking, Run, Token
from .sheet import Sheet

TABS: tuple[tuple[View, str], ...] = (
    ("raw", "Raw"), ("markdown", "Markdown"), ("html", "HTML"), ("logits", "Logits"),
    ("tokens", "Tokens"),
)  # fmt: skip
MOST_TOKENS = 4_000
"""Tokens that a page is sent; each is an element."""
LABELS = {"text": "Text", "output": "Output"}


class Looks:
    """What one page looks at, and what it asked."""

    def __init__(self) -> None:
        self.view: View = "raw"
        self.samplers, self.top = True, 25
        self.runs: list[Run] = []
        """What may come next: the last run, and the one before."""
        self.tokens: list[Token] | None = None
        self.problem = ""


class Views:
    """Contexts of _view.html."""

    def __init__(self, ext: Extension[Any], markdown: Markdown) -> None:
        self._ext, self._markdown, self._asking = ext, markdown, Asking(ext)

    def box(self, sheet: Sheet) -> dict[str, Any]:
        """The context of _text.html."""
        return {
            "id": sheet.box, "label": LABELS[sheet.box], "name": sheet.name, "text": sheet.text,
            "revision": sheet.revision, "taken": " ".join(sheet.taken),
        }  # fmt: skip

    async def context(self, name: str, sheet: Sheet | None, looks: Looks) -> dict[str, Any]:
        """What a page's sub-tab shows of a text."""
        html = ""
        if sheet and looks.view in ("markdown", "html"):
            html = await self._ext.thread(self._markdown.render, sheet.text)
        return {
            "name": name,
            "tabs": TABS,
            "view": looks.view,
            "html": Markup(html),
            "source": str(html),
            "samplers": looks.samplers,
            "top": looks.top,
            "runs": [self._run(run) for run in looks.runs],
            "tokens": [
                {"id": t.id, "text": t.text, "repr": repr(t.text), "special": t.special}
                for t in (looks.tokens or ())[:MOST_TOKENS]
            ],
            "all": len(looks.tokens or ()),
            "asked": looks.tokens is not None,
            "problem_here": looks.problem,
        }

    async def ask_logits(
        self, looks: Looks, sheet: Sheet, client: Client, samplers: bool, top: int
    ) -> None:
        looks.samplers, looks.top = samplers, top
        run = await self._asking.logits(sheet.text, client, samplers, top)
        looks.runs = [run, *looks.runs[:1]]

    async def ask_tokens(self, looks: Looks, sheet: Sheet) -> None:
        try:
            looks.tokens, looks.problem = await self._asking.tokens(sheet.text), ""
        except Refused as refusal:
            looks.tokens, looks.problem = None, str(refusal)

    def _run(self, run: Run) -> Mapping[str, Any]:
        """A run with what its bars need: shares of the likeliest, in hundredths."""
        most = max((max(c.before, c.after or 0) for c in run.choices), default=1) or 1
        rows = [
            {
                "token": repr(c.text) if c.text else f"({c.id})",
                "id": c.id,
                "number": f"{c.before if c.after is None else c.after:.5f}",
                "before": f"{c.before:.5f}",
                "after": None if c.after is None else f"{c.after:.5f}",
                "bar_before": round(1000 * c.before / most),
                "bar_after": round(1000 * (c.after or 0) / most),
                "cut_by": c.cut_by,
            }
            for c in run.choices
        ]
        return {"rows": rows, "samplers": run.samplers, "note": run.note, "error": run.error}
