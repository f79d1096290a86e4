"""What a model is called among others."""

import pytest

from extensions.models.naming import told_apart

MODELS = (
    "babyllama/hf", "stories260K/hf", "guide.gguf", "guide/guide.gguf", "a/x/model.gguf",
    "b/x/model.gguf", "b/y/model.gguf", "deep/one.gguf", "one", "c/Llama-3.1", "Llama-3.gguf",
)  # fmt: skip


@pytest.mark.parametrize(
    ("said", "name", "called"),
    [
        ("hf", "babyllama/hf", "babyllama/hf"),
        ("hf", "stories260K/hf", "stories260K/hf"),
        ("guide", "guide.gguf", "guide"),
        ("guide", "guide/guide.gguf", "guide/guide"),
        ("model", "a/x/model.gguf", "a/x/model"),
        ("model", "b/y/model.gguf", "y/model"),
        ("one", "deep/one.gguf", "one"),
        ("Llama-3.1", "c/Llama-3.1", "Llama-3.1"),
        ("Its own name", "babyllama/hf", "Its own name"),
        ("scripted", "", "scripted"),
        ("", "", ""),
        ("hf", "gone/hf", "gone/hf"),
    ],
)
def test_as_much_of_the_path_as_tells_it_from_others(said: str, name: str, called: str):
    assert told_apart(said, name, MODELS) == called


def test_no_more_than_that():
    assert told_apart("hf", "babyllama/hf", ("babyllama/hf", "other.gguf")) == "hf"
