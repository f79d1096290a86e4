"""The guide as it lies in the repository: its size, its vocabulary and its honesty."""

import json
import re
import struct
from math import prod
from pathlib import Path

import pytest

from extensions.engine_kit.api import check_gguf
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
F32, Q8_0, MOSTLY_Q8_0 = 0, 8, 7
"""Types of tensors, and of a whole file, as GGUF numbers them."""


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


RIGHT = re.compile(r"(\d+\.\d)% \((\d+)\)")
LEAST = {"seen in training": 95, "kept out of training": 60, "about other things": 90}
"""Percent of each set that must be answered letter for letter."""


def figures() -> dict[str, tuple[int, list[tuple[float, int]]]]:
    """The README's table: of each set how many were asked, and of both forms how many were right,
    in percent and as a count."""
    text = (GUIDE / "README.md").read_text(encoding="utf-8")
    table = text.split("<!-- figures: begin -->")[1].split("<!-- figures: end -->")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if "%" in line]
    return {
        title: (int(asked), [(float(share), int(count)) for share, count in RIGHT.findall(cells)])
        for title, asked, cells in ((row[0], row[1], " ".join(row[2:])) for row in rows)
    }


def test_readme_states_the_figures_of_both_forms_and_they_are_good_enough():
    assert list(figures()) == list(LEAST)
    for title, (asked, forms) in figures().items():
        assert len(forms) == 2
        for share, right in forms:
            assert share == round(100 * right / asked, 1)
            assert LEAST[title] <= share <= 100, title


def test_the_figures_are_of_the_questions_that_are_there():
    """Were the questions changed since, they would have to be measured anew."""
    taught = lessons()
    every_tenth = sum(len(lesson.questions[lesson.written :: 10]) for lesson in taught)
    asked = {title: count for title, (count, _) in figures().items()}
    assert asked == {
        "seen in training": sum(lesson.written for lesson in taught) + every_tenth,
        "kept out of training": sum(map(len, held_out().values())),
        "about other things": len(off_topic()),
    }


def test_the_gguf_is_of_8_bits_and_says_the_same_of_itself():
    """Norms alone are plain: few numbers, which scale all others."""
    file = check_gguf(GGUF)
    kinds = {name: tensor.kind for name, tensor in file.tensors.items()}
    assert {name for name, kind in kinds.items() if kind != Q8_0} == {
        name for name in kinds if "norm" in name
    }
    assert {kind for kind in kinds.values() if kind != Q8_0} == {F32}
    assert file.metadata["general.file_type"] == MOSTLY_Q8_0
    assert file.of_arch("context_length") == 1024
    count = sum(prod(tensor.shape) for tensor in file.tensors.values())
    assert count <= 3_000_000
    there = {name: t for name, t in safetensors_header().items() if name != "__metadata__"}
    assert count == sum(prod(tensor["shape"]) for tensor in there.values()), "as the other form"
    assert f"| {count:,} |" in (GUIDE / "README.md").read_text(encoding="utf-8")
