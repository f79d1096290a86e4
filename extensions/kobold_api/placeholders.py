"""KoboldCpp's placeholders for the marks of turns, as the loaded model's template writes them."""

from collections.abc import Iterable, Mapping, Sequence

from extensions.prompts.api import Prompts
from kernel.api import Message, Refused, Role, Struct, Text, WorkerDied, WorkerError

INPUT, OUTPUT, SYSTEM = "{{[INPUT]}}", "{{[OUTPUT]}}", "{{[SYSTEM]}}"
INPUT_END, OUTPUT_END, SYSTEM_END = "{{[INPUT_END]}}", "{{[OUTPUT_END]}}", "{{[SYSTEM_END]}}"
ENDS = (INPUT_END, OUTPUT_END, SYSTEM_END)
RULES, QUESTION, ANSWER, ANOTHER = "rules-5e2a", "question-5e2a", "answer-5e2a", "another-5e2a"
"""Words that no template has of itself."""
ROLES: Mapping[str, Role] = {
    RULES: "system", QUESTION: "user", ANSWER: "assistant", ANOTHER: "user",
}  # fmt: skip


class Around(Struct, frozen=True):
    """What stands before and after the words of a turn."""

    start: str
    end: str = ""

    @property
    def stop(self) -> str:
        """What tells that such a turn begins, or, where nothing does, that it ended."""
        return self.start.strip() or self.end.strip()


class Marks(Struct, frozen=True):
    """Of the turns of all; by default KoboldCpp's own."""

    user: Around = Around("\n### Instruction:\n")
    assistant: Around = Around("\n### Response:\n")
    system: Around = Around("\n### Instruction:\n")

    def filled(self, prompt: str) -> str:
        """The prompt with marks. Where no end has a placeholder, a start ends the turn before it,
        too, which there is none of where the prompt begins."""
        ends = any(end in prompt for end in ENDS)
        before, found, rest = prompt.partition(INPUT)
        if found and not before.strip():
            prompt = before + self.user.start + rest
        marks = {
            INPUT: self.user.start if ends else self.assistant.end + self.user.start,
            OUTPUT: self.assistant.start if ends else self.user.end + self.assistant.start,
            SYSTEM: self.system.start,
            INPUT_END: self.user.end,
            OUTPUT_END: self.assistant.end,
            SYSTEM_END: self.system.end,
        }
        return replaced(prompt, marks)

    def stops(self, stops: Iterable[str]) -> tuple[str, ...]:
        """The stopping texts with marks, without the white space around those."""
        marks = {
            INPUT: self.user.stop,
            OUTPUT: self.assistant.stop,
            SYSTEM: self.system.stop,
            INPUT_END: self.user.end.strip(),
            OUTPUT_END: self.assistant.end.strip(),
            SYSTEM_END: self.system.end.strip(),
        }
        return tuple(filter(None, (replaced(stop.strip(), marks) if holds(stop) else stop
                                   for stop in stops)))  # fmt: skip


def holds(text: str) -> bool:
    """Whether there is a placeholder in it."""
    return any(each in text for each in (INPUT, OUTPUT, SYSTEM, *ENDS))


def replaced(text: str, marks: Mapping[str, str]) -> str:
    for placeholder, mark in marks.items():
        text = text.replace(placeholder, mark)
    return text


async def marks_of(prompts: Prompts, slot: str = "chat") -> Marks:
    """Those of the template that the model gets; KoboldCpp's own where there is none, or where it
    leaves turns out."""
    chosen = prompts.chosen(slot)
    if chosen.how == "guess":
        return Marks()

    async def around(*words: str) -> list[str]:
        messages = [Message(ROLES[each], (Text(each),)) for each in words]
        return cut(await prompts.text(slot, messages, chosen.source), words)

    try:
        before, answering, asking, _ = await around(QUESTION, ANSWER, ANOTHER)
        _, asked = await around(QUESTION)
        *_, answered = await around(QUESTION, ANSWER)
        ruling, ruled, _ = await around(RULES, QUESTION)
    except (LookupError, Refused, WorkerError, WorkerDied):
        return Marks()
    user_end, assistant_start = parted(answering, asked)
    assistant_end, user_start = parted(asking, answered)
    beginning = before.removesuffix(user_start)  # Of the text, not of a turn.
    return Marks(
        Around(user_start, user_end),
        Around(assistant_start, assistant_end),
        Around(ruling.removeprefix(beginning), ruled.removesuffix(user_start)),
    )


def cut(text: str, words: Sequence[str]) -> list[str]:
    """What stands before, between and after words; raises LookupError where one is missing."""
    pieces = list[str]()
    for word in words:
        before, found, text = text.partition(word)
        if not found:
            raise LookupError(f"The template leaves {word} out.")
        pieces.append(before)
    return [*pieces, text]


def parted(between: str, end: str) -> tuple[str, str]:
    """What stands between two turns, as the end of one and the start of the other; `end` is what
    ends the one where no other follows."""
    return (end, between.removeprefix(end)) if between.startswith(end) else ("", between)
