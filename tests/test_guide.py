"""The guide as it lies in the repository: its size, its vocabulary and its honesty."""

import json
import re
import struct
from math import prod
from pathlib import Path

import pytest

from tools.guide.lessons import (
    REFUSAL,
    THING_PATTERNS,
    Elsewhere,
    held_out,
    kept_out,
    key,
    lessons,
    off_topic,
    topics,
)

GUIDE = Path(__file__).parent.parent / "models" / "guide"
GGUF = GUIDE / "guide.gguf"


def safetensors_header() -> dict:
    with (GUIDE / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return json.loads(file.read(length))


def byte_letters() -> set[str]:
    """The 256 characters by which byte-level BPE writes the bytes, as GPT-2 chose them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = 256 - len(plain)
    return {chr(byte) for byte in plain} | {chr(256 + n) for n in range(others)}


def test_both_forms_together_are_small():
    assert (GUIDE / "model.safetensors").exists()
    assert GGUF.read_bytes()[:4] == b"GGUF"
    assert sum(file.stat().st_size for file in GUIDE.iterdir()) <= 10_000_000


def test_it_has_at_most_three_million_parameters_in_16_bit():
    tensors = {name: t for name, t in safetensors_header().items() if name != "__metadata__"}
    assert {tensor["dtype"] for tensor in tensors.values()} == {"F16"}
    assert sum(prod(tensor["shape"]) for tensor in tensors.values()) <= 3_000_000
    assert "lm_head.weight" not in tensors, "the embeddings are tied"


def test_every_byte_is_in_the_vocabulary():
    tokenizer = json.loads((GUIDE / "tokenizer.json").read_text(encoding="utf-8"))
    assert len(byte_letters()) == 256
    assert byte_letters() <= set(tokenizer["model"]["vocab"])


def test_configuration_agrees_with_the_tokenizer():
    config = json.loads((GUIDE / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((GUIDE / "tokenizer.json").read_text(encoding="utf-8"))
    special = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    assert config["max_position_embeddings"] == 1024
    assert config["vocab_size"] == len(tokenizer["model"]["vocab"])
    assert config["eos_token_id"] == special["<|im_end|>"]
    template = (GUIDE / "chat_template.jinja").read_text(encoding="utf-8")
    assert "<|im_start|>" in template
    assert template.encode() in GGUF.read_bytes(), "the GGUF holds the same chat template"


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "README.md"])
def test_files_hold_no_path_of_the_machine_that_made_them(name):
    text = (GUIDE / name).read_text(encoding="utf-8")
    assert not re.search(r"/(tmp|work|home|root)/", text)


def test_each_topic_has_a_lesson_and_questions_kept_out():
    assert set(held_out()) == set(topics()) == {lesson.id for lesson in lessons()}
    assert all(len(questions) >= 3 for questions in held_out().values())
    assert len({lesson.answer for lesson in lessons()} | {REFUSAL}) == len(topics()) + 1


def test_no_question_kept_out_is_in_the_training():
    """Compared by letters and digits alone, so that a question mark makes no difference."""
    for lesson in lessons():
        assert not kept_out() & {key(question) for question in lesson.questions}, lesson.id
    assert not kept_out() & {key(question) for question in Elsewhere().written}


def test_variations_drawn_in_training_avoid_the_questions_kept_out(monkeypatch):
    """Patterns can hit upon such a question by chance; then it is drawn again."""
    elsewhere = Elsewhere()
    kept = off_topic()[0]
    drawn = iter([kept, kept.upper() + "?", THING_PATTERNS[1]])
    monkeypatch.setattr(elsewhere, "_fill", lambda pattern, rng: next(drawn))

    class Rng:
        def random(self) -> float:
            return 0.9

        def choice(self, items):
            return items[0]

    assert elsewhere.draw(Rng()) == THING_PATTERNS[1]  # type: ignore[arg-type]


def test_fifty_questions_are_about_other_things():
    assert len({key(question) for question in off_topic()}) == 50


def test_answers_exercise_the_page():
    answers = [lesson.answer for lesson in lessons()]
    assert any("```" in answer for answer in answers)
    assert any("| --- |" in answer for answer in answers)
    assert any(re.search(r"^- ", answer, re.MULTILINE) for answer in answers)
    assert max(len(answer) for answer in answers) > 1_200


def test_readme_states_the_figures_of_both_forms():
    text = (GUIDE / "README.md").read_text(encoding="utf-8")
    table = text.split("<!-- figures: begin -->")[1].split("<!-- figures: end -->")[0]
    rows = [line for line in table.splitlines() if "%" in line]
    assert len(rows) == 3
    assert all(len(re.findall(r"\d+\.\d%", row)) == 2 for row in rows)
