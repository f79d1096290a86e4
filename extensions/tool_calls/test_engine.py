"""A real engine is made to call a tool: a tiny model that never heard of any, held by a grammar."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from extensions.engine_kit.api import check_gguf
from extensions.tool_calls.api import calls
from kernel.api import REQUEST, Draft, Message, Sampling, Text, Turn
from kernel.testing import App, running
from tests.engines.real import STORIES, interpreter

pytestmark = pytest.mark.engine
KINDS = {"enum": ["rain", "snow"]}
TREE = {
    "type": "object",
    "properties": {"kind": KINDS, "days": {"type": "integer"}, "then": {"$ref": "#/$defs/Day"}},
    "required": ["kind", "days", "then"],
    "$defs": {"Day": {"type": "object", "properties": {"kind": KINDS}, "required": ["kind"]}},
}
NOW = {"type": "object", "properties": {}}
TOOLS = tuple(
    {"type": "function", "function": {"name": name, "parameters": schema}}
    for name, schema in (("forecast", TREE), ("now", NOW))
)


async def answering_in_days(draft: Draft) -> Draft:
    """A modifier that wants an answer of this form."""
    days = {"type": "object", "properties": {"days": {"type": "integer"}}, "required": ["days"]}
    request = structs.replace(draft.request, grammar=json.dumps(days))
    return structs.replace(draft, request=request)


async def called(app: App, **options: Any) -> tuple[str, list[Any], str]:
    """The text of a reply, its calls, and how it failed."""
    sampling = Sampling(temperature=0.0, max_new_tokens=600)
    question = Message("user", (Text("Once upon a time"),))
    turn = Turn((question,), tools=TOOLS, sampling=sampling, options=options)
    reply, tool = app.run(turn), ""
    async for delta in reply:
        tool += delta.text if delta.channel == "tool" else ""
    assert reply.finish
    return reply.text, calls(tool), reply.finish.error


@pytest.mark.parametrize("name", ["xllamacpp", "xllamacpp-native"])
async def test_a_real_engine_calls_what_it_has_to(name: str, environments_dir: Path):
    python = interpreter(environments_dir / name)
    async with running("reasoning", "tool_calls", "instruct", "llama_cpp", python=python) as app:
        await app.kernel.slot().load(STORIES / "stories260K.gguf", "llama_cpp", {})
        model = app.kernel.slot().model
        assert model
        assert "tools" in model.info.capabilities
        for choice in ("required", {"type": "function", "function": {"name": "forecast"}}):
            text, found, error = await called(app, tool_choice=choice)
            assert (text, error) == ("", "")
            [call] = found
            given = json.loads(call.arguments)
            if call.name == "forecast":
                assert given.keys() == {"kind", "days", "then"}
                assert {given["kind"], given["then"]["kind"]} <= {"rain", "snow"}
            else:
                assert (choice, call.name, given) == ("required", "now", {})
        text, found, error = await called(app)
        assert text
        assert (found, error) == ([], "")
        app.extension("tool_calls").on(REQUEST)(answering_in_days)
        text, found, error = await called(app)
        assert error == ""
        assert bool(found) != bool(text)
        assert {call.name for call in found} <= {"forecast", "now"}
        assert not text or json.loads(text).keys() == {"days"}


def with_control_tokens(path: Path, *texts: bytes) -> list[int]:
    """The model's file with some of its words become control tokens of these texts: their ids."""
    data = bytearray((STORIES / "stories260K.gguf").read_bytes())
    known: list[bytes] = check_gguf(STORIES / "stories260K.gguf").metadata["tokenizer.ggml.tokens"]
    key = b"tokenizer.ggml.token_type"
    kinds = data.index(key) + len(key) + 16  # What it is, of what, and how many.
    ids: list[int] = []
    for text in texts:
        id = next(n for n in range(300, 500) if len(known[n]) == len(text) and n not in ids)
        place = data.index(struct.pack("<Q", len(text)) + known[id])
        data[place + 8 : place + 8 + len(text)] = text
        data[kinds + 4 * id : kinds + 4 * id + 4] = struct.pack("<i", 3)
        ids.append(id)
    path.write_bytes(data)
    return ids


@pytest.mark.parametrize("name", ["xllamacpp", "xllamacpp-native"])
async def test_tokens_of_calls_are_said_and_other_special_ones_are_not(
    name: str, environments_dir: Path, tmp_path: Path
):
    python = interpreter(environments_dir / name)
    file = tmp_path / "special.gguf"
    spoken, other = with_control_tokens(file, b"[ARGS]", b"[SECR]")
    async with running("instruct", "llama_cpp", python=python) as app:
        await app.kernel.slot().load(file, "llama_cpp", {})
        for id, expected in ((spoken, "[ARGS]" * 3), (other, "")):
            likely = Sampling(temperature=0.0, max_new_tokens=3, logit_bias={id: 100.0})
            reply = app.run(Turn(prompt="Once upon a time", sampling=likely))
            assert "".join([delta.text async for delta in reply]) == expected
            assert reply.finish
            assert (reply.finish.error, reply.finish.usage.completion) == ("", 3)
