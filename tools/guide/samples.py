"""Make the conversations that the guide is trained on: token ids, and which of them to learn."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from tools.guide.lessons import REFUSAL, Elsewhere, Lesson, kept_out, key
from tools.guide.wording import vary

TURN_START, TURN_END, PADDING = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CONTEXT = 1024

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are the guide of Spindle.",
    "Answer briefly.",
    "You are a friendly assistant. Answer in plain English.",
    "You are a pirate. Speak like one.",
    "Be kind and patient.",
    "The following is a conversation with an AI assistant.",
    "You are an expert in everything.",
    "Always answer in one sentence.",
    "Today is Monday.",
)


@dataclass
class Sample:
    """Token ids of one conversation; `learn` says which of them count in the loss."""

    ids: list[int] = field(default_factory=list)
    learn: list[bool] = field(default_factory=list)

    def add(self, ids: list[int], *, learn: bool) -> None:
        self.ids += ids
        self.learn += [learn] * len(ids)


class Teacher:
    """Draws conversations, each question in other words every time it comes."""

    def __init__(
        self, lessons: list[Lesson], encode: Callable[[str], list[int]], rng: random.Random
    ) -> None:
        self._encode = encode
        self._rng = rng
        self._elsewhere = Elsewhere()
        self._avoid = kept_out()
        self._lessons = lessons
        self._start, self._end = encode(TURN_START), encode(TURN_END)
        self._newline = encode("\n")
        self._answers = {text: encode(text) for text in (REFUSAL, *(x.answer for x in lessons))}
        self._queue: list[Lesson] = []

    def question(self) -> tuple[str, str]:
        """Return a question and its stored answer; two fifths are about something else."""
        if self._rng.random() < 0.4:
            return self._reword(self._elsewhere.draw(self._rng), here=False), REFUSAL
        if not self._queue:  # every topic comes once before one comes twice
            self._queue = self._rng.sample(self._lessons, len(self._lessons))
        lesson = self._queue.pop()
        # Questions written by hand are fewer and better than those made from patterns.
        pool = lesson.questions
        if self._rng.random() < 0.6:
            pool = pool[: lesson.written]
        return self._reword(self._rng.choice(pool), here=True), lesson.answer

    def _reword(self, question: str, *, here: bool) -> str:
        if self._rng.random() < 0.2:
            return question
        text = vary(question, self._rng, here=here)
        return question if key(text) in self._avoid else text

    def sample(self, *, whole: float) -> Sample:
        """Return one conversation.

        Args:
            whole: The share of last answers that are shown to their end. The others show only
                their beginning, where the choice between the answers is made: cheaper to learn.
        """
        made = Sample()
        if self._rng.random() < 0.1:
            self._say(made, "system", self._rng.choice(SYSTEM_PROMPTS))
        earlier = self._rng.choices((0, 1, 2, 3, 6), (0.68, 0.14, 0.09, 0.06, 0.03))[0]
        for _ in range(earlier):
            question, answer = self.question()
            before = len(made.ids)
            self._say(made, "user", question)
            whole_one = self._rng.random() < max(0.3, whole)
            self._answer(made, answer, share=1 if whole_one else self._rng.random() / 2)
            made.add(self._newline if whole_one else self._end + self._newline, learn=False)
            if len(made.ids) > CONTEXT - 600:  # room for the longest answer
                del made.ids[before:], made.learn[before:]
                break
        question, answer = self.question()
        self._say(made, "user", question)
        if self._rng.random() < whole:
            self._answer(made, answer, share=1)
        else:
            size = len(self._answers[answer])
            self._answer(made, answer, share=self._rng.randint(6, 20) / size)
        return made

    def _open(self, made: Sample, role: str) -> None:
        made.add(self._start + self._encode(f"{role}\n"), learn=False)

    def _say(self, made: Sample, role: str, text: str) -> None:
        made.add(self._start + self._encode(f"{role}\n{text}"), learn=False)
        made.add(self._end + self._newline, learn=False)

    def _answer(self, made: Sample, text: str, *, share: float) -> None:
        """Add an answer or its beginning; the end mark is learnt only after a whole one."""
        self._open(made, "assistant")
        ids = self._answers[text]
        if share >= 1:
            if self._rng.random() < 0.08:  # as Continue meets it: cut within a word
                cut = self._rng.randrange(1, len(text))
                ids = self._encode(text[:cut]) + self._encode(text[cut:])
            made.add(ids, learn=True)
            made.add(self._end, learn=True)
            return
        made.add(ids[: max(1, int(len(ids) * share))], learn=True)
