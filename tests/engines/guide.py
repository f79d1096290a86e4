"""What the guide was taught, asked through an engine: the stored answer, letter for letter."""

from collections.abc import Iterable
from typing import Any

from kernel.contract import Message, Text
from kernel.worker import Worker
from tests.engines.real import ROOT, ask
from tools.guide.lessons import lessons

FOLDER = ROOT / "models" / "guide"
GGUF = FOLDER / "guide.gguf"
TOPICS = ("spindle", "start", "gguf", "token", "stop_reply", "backup")
"""Of lessons with short answers that no extension that comes makes wrong."""


async def answers(worker: Worker, topics: Iterable[str] = TOPICS) -> None:
    """Ask the first question of each of these lessons; it must be answered rightly."""
    taught = {lesson.id: lesson for lesson in lessons()}
    for topic in topics:
        lesson = taught[topic]
        question = (Message("user", (Text(lesson.questions[0]),)),)
        more: dict[str, Any] = {"messages": question, "max_new_tokens": 600}
        text, finish, _ = await ask(worker, **more)
        assert (text, finish.reason) == (lesson.answer, "stop"), lesson.questions[0]
