"""The folders that tests of adapters begin with."""

import shutil
from pathlib import Path

import pytest

DATA = Path(__file__).parents[2] / "tests" / "data"
LORA, STORIES = DATA / "lora-stories260K", DATA / "stories260K"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two models of the same shape, one in the other form, and adapters of all kinds."""
    models, loras = tmp_path / "models", tmp_path / "loras"
    models.mkdir()
    for name in ("one.gguf", "two.gguf"):
        shutil.copyfile(STORIES / "stories260K-f16.gguf", models / name)
    shutil.copytree(STORIES / "hf", models / "hf")
    shutil.copytree(LORA, loras / "plays", ignore=shutil.ignore_patterns("*.gguf"))
    (loras / "deep" / "er").mkdir(parents=True)
    for name in ("deep/er/bard.gguf", "plays.gguf", "verse.gguf"):
        shutil.copyfile(LORA / "lora-shakespeare-f32.gguf", loras / name)
    (loras / "cut.gguf").write_bytes((loras / "plays.gguf").read_bytes()[:5000])
    (loras / "notes.txt").write_text("x")
    (loras / ".hidden.gguf").write_text("x")
    (loras / "pickled").mkdir()
    shutil.copyfile(LORA / "adapter_config.json", loras / "pickled" / "adapter_config.json")
    (loras / "pickled" / "adapter_model.bin").write_bytes(b"x")
    return tmp_path
