"""Prompts are what transformers builds, byte for byte, over eighteen templates; or both refuse."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from extensions.engine_kit.api import ChatTemplate
from extensions.engine_kit.templates import as_entries, joined
from kernel.contract import Message, Reasoning, Refused, Text, ToolCall, ToolResult
from tests.engines.real import interpreter

HERE = Path(__file__).parent
FILES = sorted((HERE.parent / "data" / "chat-templates" / "chujiezheng").glob("*.jinja"))
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
pytestmark = pytest.mark.engine


def said(role: Any, *parts: Any) -> Message:
    return Message(role, tuple(Text(p) if isinstance(p, str) else p for p in parts))


SYSTEM, ASK, ANSWER = said("system", "Be brief."), said("user", "Hello?"), said("assistant", "Hi! ")
CALL = said("assistant", "", ToolCall("call1", "add", '{"a": 1, "b": [2, "é"]}'))
RESULT = Message("tool", (ToolResult("call1", "3"),), name="add")
TALKS = {
    "a question": (ASK,),
    "with a system message": (SYSTEM, ASK),
    "many turns": (SYSTEM, ASK, ANSWER, said("user", " Two\n\nlines  "), ANSWER, ASK),
    "no system message": (ASK, ANSWER, ASK),
    "thoughts": (ASK, said("assistant", Reasoning("Hm."), "Hi."), ASK),
    "a tool": (ASK, CALL, RESULT, said("assistant", "It is 3."), ASK),
    "a tool's answer at the end": (SYSTEM, ASK, CALL, RESULT),
    "the assistant first": (ANSWER, ASK),
    "two questions": (ASK, ASK),
    "ends with a reply": (SYSTEM, ASK, ANSWER),
    "strange words": (said("user", "{{ 1 }} <s>[INST] é🙂\t"), said("assistant", "<|im_end|>\n")),
}
WAYS: dict[str, dict[str, bool]] = {
    "to be answered": {"add_generation_prompt": True},
    "as it is": {"add_generation_prompt": False},
    "to be continued": {"continue_final_message": True},
}


@pytest.fixture(scope="module")
def sandbox() -> Iterator[ChatTemplate]:
    sandbox = ChatTemplate("", TOKENS)
    yield sandbox
    sandbox.close()


@pytest.fixture(scope="module")
def theirs(environments_dir: Path) -> list[dict[str, str]]:
    """What transformers says to every question: first as it is asked, then with it mended."""
    python = interpreter(environments_dir / "torch", "transformers")
    script, asked = HERE / "transformers_templates.py", [q for pair in questions() for q in pair]
    done = subprocess.run(
        [python, str(script)], input=json.dumps(asked), capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


def questions() -> Iterator[tuple[Any, Any]]:
    for file in FILES:
        source = file.read_text("utf-8")
        for messages in TALKS.values():
            entries = [entry for message in messages for entry in as_entries(message)]
            for how in WAYS.values():
                yield (source, entries, how), (source, joined(entries), how)


def test_there_are_eighteen_templates_with_their_licence():
    assert len(FILES) == 18
    assert (FILES[0].parent / "LICENSE").is_file()


def test_prompts_are_those_of_transformers(sandbox: ChatTemplate, theirs: list[dict[str, str]]):
    answers, equal, refused, mended = iter(theirs), 0, 0, 0
    for file in FILES:
        source = file.read_text("utf-8")
        for talk, messages in TALKS.items():
            for way, how in WAYS.items():
                expected, joined_up = next(answers), next(answers)
                at = f"{file.name}, {talk}, {way}"
                ours = outcome(sandbox, messages, source, how, strict=True)
                if "continue" in "".join(how) and messages[-1].role == "tool":
                    assert ours is None, at  # Theirs goes on with a tool's words.
                elif "text" in expected:
                    assert ours == expected["text"], at
                    equal += 1
                else:
                    assert ours is None, f"{at}: {expected['error']}"
                    refused += 1
                    again = outcome(sandbox, messages, source, how, strict=False)
                    if "text" in joined_up:
                        assert again == joined_up["text"], at
                        mended += 1
    assert (equal, refused, mended) == (400, 176, 47)


def outcome(
    sandbox: ChatTemplate, messages: Any, source: str, how: dict[str, bool], *, strict: bool
) -> str | None:
    """Our prompt, or None where it is refused."""
    try:
        return sandbox.render(
            messages,
            continue_=how.get("continue_final_message", False),
            template=source,
            add_generation_prompt=how.get("add_generation_prompt", False),
            strict=strict,
        )
    except Refused:
        return None
