"""Vendored front-end files are what their manifest says, and the manifest names every one."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

VENDOR = Path(__file__).parent.parent / "static" / "vendor"
MANIFEST: list[dict[str, Any]] = json.loads((VENDOR / "manifest.json").read_text("utf-8"))


@pytest.mark.parametrize("entry", MANIFEST, ids=lambda entry: entry["file"])
def test_is_the_file_that_was_reviewed(entry: dict[str, Any]) -> None:
    assert hashlib.sha256((VENDOR / entry["file"]).read_bytes()).hexdigest() == entry["sha256"]
    assert (VENDOR / entry["licence_file"]).read_text("utf-8").strip()
    for key in ("name", "version", "licence", "source"):
        assert entry[key], f"{entry['file']} has no {key} in manifest.json"


def test_nothing_is_vendored_unlisted() -> None:
    listed = {"manifest.json"}
    listed.update(entry[key] for entry in MANIFEST for key in ("file", "licence_file"))
    files = {path for path in VENDOR.rglob("*") if path.is_file()}
    assert {path.relative_to(VENDOR).as_posix() for path in files} == listed
