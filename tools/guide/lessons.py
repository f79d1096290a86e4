"""The guide's topics, questions and stored answers, read from the TOML files beside this one."""

from __future__ import annotations

import itertools
import random
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent

REFUSAL = (
    "I do not know that: I only know Spindle and running language models on your own machine. "
    "For anything else get a bigger model: open Models, Download, choose one that fits, and pick "
    "it in the status line at the bottom of the page."
)

THING_PATTERNS = (
    "{}",
    "explain {}",
    "tell me about {}",
    "tell me something about {}",
    "what about {}",
    "can you explain {}",
    "what do you know about {}",
    "i do not understand {}",
    "describe {}",
    "help me understand {}",
    "i have a question about {}",
    "information about {}",
    "i want to know about {}",
    "give me a short explanation of {}",
    "say something about {}",
    "could you tell me more about {}",
)
DEED_PATTERNS = (
    "{}",
    "how do i {}",
    "how can i {}",
    "how to {}",
    "how would i {}",
    "how does one {}",
    "can i {}",
    "can you {}",
    "could i {}",
    "i want to {}",
    "i need to {}",
    "i would like to {}",
    "is it possible to {}",
    "is there a way to {}",
    "what is the best way to {}",
    "what do i have to do to {}",
    "where can i {}",
    "help me {}",
    "show me how to {}",
    "how am i supposed to {}",
)


@dataclass(frozen=True)
class Lesson:
    """One topic: its stored answer and every question that training may ask about it."""

    id: str
    title: str
    answer: str
    questions: tuple[str, ...]
    written: int
    """How many of the questions, the first ones, were written by hand."""


def key(question: str) -> str:
    """Reduce a question to what makes it the same question: letters and digits, lower case."""
    return re.sub(r"[\W_]+", " ", question.lower()).strip()


def _read(name: str) -> dict:
    return tomllib.loads((HERE / name).read_text(encoding="utf-8"))


def topics() -> dict[str, str]:
    """Return the topics, id to title."""
    return _read("topics.toml")


def held_out() -> dict[str, list[str]]:
    """Return the questions kept out of training, by topic."""
    return _read("heldout.toml")


def off_topic() -> list[str]:
    """Return the fifty questions about other things, kept out of training."""
    return _read("offtopic.toml")["questions"]


def kept_out() -> frozenset[str]:
    """Return the keys of all questions that training must never show."""
    asked = itertools.chain(off_topic(), *held_out().values())
    return frozenset(key(question) for question in asked)


def _questions(entry: dict, avoid: frozenset[str]) -> Iterator[str]:
    """Yield an entry's own questions, then those its patterns make and `avoid` permits."""
    yield from entry["asks"]
    for field, patterns in (("things", THING_PATTERNS), ("deeds", DEED_PATTERNS)):
        for phrase, pattern in itertools.product(entry.get(field, ()), patterns):
            question = pattern.format(phrase)
            if key(question) not in avoid:
                yield question


def lessons() -> list[Lesson]:
    """Return every lesson in the order of the topics.

    Raises:
        ValueError: A question is kept out of training, or leads to two different answers.
    """
    avoid = kept_out()
    entries: dict[str, dict] = {}
    for path in sorted((HERE / "lessons").glob("*.toml")):
        entries |= tomllib.loads(path.read_text(encoding="utf-8"))
    owner: dict[str, str] = {}
    made = []
    for topic, title in topics().items():
        entry = entries[topic]
        for question in entry["asks"]:
            name = key(question) or question
            if name in avoid:
                raise ValueError(f"{topic}: {question!r} is kept out of training; remove it")
            if owner.setdefault(name, topic) != topic:
                raise ValueError(f"{question!r} is asked in {topic} and in {owner[name]}")
        questions = dict.fromkeys(_questions(entry, avoid))
        made.append(
            Lesson(topic, title, entry["answer"].strip(), tuple(questions), len(entry["asks"]))
        )
    # A pattern must not make a question that another topic owns by hand.
    return [
        Lesson(
            one.id,
            one.title,
            one.answer,
            tuple(q for q in one.questions if owner.get(key(q) or q, one.id) == one.id),
            one.written,
        )
        for one in made
    ]


class Elsewhere:
    """Questions about everything else: written ones, and an endless supply from patterns."""

    def __init__(self) -> None:
        data = _read("elsewhere.toml")
        self.written: list[str] = data["questions"]
        self._patterns: list[str] = data["patterns"]
        self._lists: dict[str, list[str]] = data["lists"]
        self._avoid = kept_out()

    def draw(self, rng: random.Random) -> str:
        """Return one question, a written one in a quarter of the cases."""
        while True:
            if rng.random() < 0.25:
                question = rng.choice(self.written)
            else:
                question = self._fill(rng.choice(self._patterns), rng)
            if key(question) not in self._avoid:
                return question

    def _fill(self, pattern: str, rng: random.Random) -> str:
        return re.sub(r"{(\w+)}", lambda found: self._word(found[1], rng), pattern)

    def _word(self, name: str, rng: random.Random) -> str:
        """Return a word of a list, or in a quarter of the cases one that nobody has ever heard.

        Such a blend of two words teaches that what is unknown is about something else.
        """
        word = rng.choice(self._lists[name])
        if rng.random() > 0.25:
            return word
        other = rng.choice(self._lists[rng.choice(list(self._lists))])
        return word[: len(word) // 2] + other[len(other) // 2 :]
