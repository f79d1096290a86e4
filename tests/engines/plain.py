"""What transformers itself says of the tiny model: asked once, whoever needs it."""

import json
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.engines.real import ROOT, STORIES, interpreter

NEGATIVE = "Once upon a time, there was a boy named Tim"
SCALES = (1.5, 3.0)
CONTRASTS = ((0.5, 3), (0.7, 4))
"""penalty_alpha and top_k with which no two candidates are nearly equal."""
ODD = (
    "Once upon a time", "  two  spaces ", " lead", "\n\nnew\nline", "héllo wörld", "日本語", "🙂",
    "\ttab", "", "a" * 50, "<s>", "</s>x", "<unk>", " <s> x", "Don't—stop…", "\r\n", "\x00nul",
    "0123 456", "ABC_def-ghi", "▁under", "  ", "no\u00a0break", "e\u0301", "\ufeffmark", "<0x0A>",
)  # fmt: skip
ASKED = {
    "prompt": "Once upon a time", "negative": NEGATIVE, "scales": SCALES, "contrasts": CONTRASTS,
    "texts": ODD, "count": 200,
}  # fmt: skip


@cache
def plain(environment: Path) -> dict[str, Any]:
    """The answers of plain_transformers.py, which takes ten seconds of a processor."""
    program = ROOT / "tests" / "engines" / "plain_transformers.py"
    said = subprocess.run(
        [interpreter(environment), program, STORIES / "hf", STORIES.parent / "lora-stories260K"],
        input=json.dumps(ASKED), capture_output=True, text=True, check=True,
    )  # fmt: skip
    return json.loads(said.stdout)
