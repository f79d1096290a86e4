# pyright: reportMissingImports=false
"""Measure the guide in both forms and write the figures into its README.

`python -m tools.measure_guide` asks, greedily, the questions seen in training (all that were
written by hand and every tenth of those that patterns made), those kept out of it, and fifty about
other things. A reply is right if it is the stored answer, letter for letter.
Needs torch, transformers and xllamacpp.
"""

from __future__ import annotations

import os

# Before torch and llama.cpp are imported: waiting threads that spin cost the other ones dearly.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("GOMP_SPINCOUNT", "500")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import time
from dataclasses import dataclass
from pathlib import Path

from tools.guide.askers import Asker, WithLlamaCpp, WithTransformers
from tools.guide.lessons import REFUSAL, held_out, lessons, off_topic

GUIDE = Path(__file__).parent.parent / "models" / "guide"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"


@dataclass(frozen=True)
class Question:
    """A question and the answer that alone is right."""

    text: str
    answer: str


def question_sets(step: int) -> dict[str, list[Question]]:
    """Return the three sets; `step` thins out the questions that patterns made."""
    taught = lessons()
    answers = {lesson.id: lesson.answer for lesson in taught}
    seen = [
        Question(text, lesson.answer)
        for lesson in taught
        for text in (
            *lesson.questions[: lesson.written],
            *lesson.questions[lesson.written :: step],
        )
    ]
    return {
        "seen in training": seen,
        "kept out of training": [
            Question(text, answers[topic]) for topic, texts in held_out().items() for text in texts
        ],
        "about other things": [Question(text, REFUSAL) for text in off_topic()],
    }


def right_answers(asker: Asker, questions: list[Question], *, show: bool) -> int:
    """Return how many of the questions are answered exactly right."""
    # Answers of like length together, so that a batch ends together.
    ordered = sorted(questions, key=lambda question: len(question.answer))
    chats = [[{"role": "user", "content": question.text}] for question in ordered]
    replies = asker.ask(chats, [question.answer for question in ordered])
    right = 0
    for question, reply in zip(ordered, replies, strict=True):
        if reply == question.answer:
            right += 1
        elif show:
            print(f"  {question.text!r}: {reply[:60]!r} and not {question.answer[:60]!r}")
    return right


def write_figures(readme: Path, rows: list[str]) -> None:
    """Put the table between the two marks in the README."""
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    table = "\n".join(rows)
    readme.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=GUIDE)
    parser.add_argument(
        "--step", type=int, default=10, help="ask every n-th question from patterns"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--show", action="store_true", help="print the wrong replies")
    parser.add_argument("--no-write", action="store_true", help="leave the README as it is")
    arguments = parser.parse_args()
    sets = question_sets(arguments.step)
    askers = [WithTransformers(arguments.folder), WithLlamaCpp(arguments.folder, arguments.threads)]
    rows = [
        "| questions | asked | " + " | ".join(asker.name for asker in askers) + " |",
        "| --- | --- | " + " | ".join("---" for _ in askers) + " |",
    ]
    for title, questions in sets.items():
        cells = []
        for asker in askers:
            started = time.monotonic()
            right = right_answers(asker, questions, show=arguments.show)
            share = right / len(questions)
            cells.append(f"{share:.1%} ({right})")
            spent = time.monotonic() - started
            print(f"{title}: {asker.name}: {share:.1%}, {spent:.0f} s", flush=True)
        rows.append(f"| {title} | {len(questions)} | " + " | ".join(cells) + " |")
    if not arguments.no_write:
        write_figures(arguments.folder / "README.md", rows)


if __name__ == "__main__":
    main()
