"""Vectors of texts, and speech, hearing and pictures where an extension has them."""

import asyncio
import base64
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec import structs

from extensions.api_kit.api import HEARING, PICTURES, SPEECH, Recording
from kernel.api import LOADERS, Phase, Refused
from kernel.testing import App, ScriptedLoader, running
from tests.programs import Knowing, ask, fault, post, said
from tests.sockets import Served, serving

PATH = "/v1/embeddings"


@pytest.fixture
async def app() -> AsyncIterator[App]:
    async with running("openai_api") as app:
        yield app


@pytest.fixture
async def served(app: App) -> AsyncIterator[Served]:
    async with serving(app) as served:
        yield served


def add(app: App, point: Any, value: Any) -> None:
    app.kernel.registry.add(point, value, "test", phase=Phase.NORMAL, rank=0, rewrites=False)


class Narrow(Knowing):
    """A model with room for 64 tokens, that makes no vector of what holds a `#`."""

    def __init__(self) -> None:
        super().__init__(capabilities=("embeddings",))
        self.info = structs.replace(self.info, context_length=64)

    async def call(self, name: str, **data: Any) -> Any:
        texts = data["texts"] if name == "embed" else ()
        if any(len(self.ids(text)) > 64 or "#" in text for text in texts):
            raise Refused("It cannot make vectors of this.")
        return await super().call(name, **data)


async def embedding(app: App, model: Knowing | None = None) -> Knowing:
    """A model in the slot for vectors."""
    model = model or Knowing(capabilities=("embeddings",))
    add(app, LOADERS, ScriptedLoader(model))
    await app.kernel.slot("embedding").load(Path("scripted"), "scripted")
    return model


class Slow(Knowing):
    """Makes vectors for one call at a time; the first waits until another is there."""

    def __init__(self) -> None:
        super().__init__(capabilities=("embeddings",))
        self.turn, self.sizes, self.both = asyncio.Lock(), list[int](), asyncio.Event()

    async def call(self, name: str, **data: Any) -> Any:
        if name != "embed":
            return await super().call(name, **data)
        if self.turn.locked():
            self.both.set()
        async with self.turn:
            await self.both.wait()
            self.sizes.append(len(data["texts"]))
            return await super().call(name, **data)


async def test_many_texts_let_others_come_between(app: App, served: Served):
    model = await embedding(app, Slow())
    assert isinstance(model, Slow)
    many = {"input": [str(n) for n in range(200)]}
    both = asyncio.gather(post(served, PATH, **many), post(served, PATH, input="one"))
    answers = [answer.json()["data"] for answer in await both]
    assert [len(data) for data in answers] == [200, 1]
    assert [each["index"] for each in answers[0]] == [*range(200)]
    assert sorted(model.sizes) == [1, 8, 64, 64, 64]
    assert model.sizes[:2] in ([64, 1], [1, 64])


async def test_vectors_of_two_models_are_no_answer(app: App, served: Served):
    model = await embedding(app, Slow())
    assert isinstance(model, Slow)
    other: Any = ScriptedLoader(Knowing(capabilities=("embeddings",)))
    other.id = other.label = "other"
    add(app, LOADERS, other)
    slot = app.kernel.slot("embedding")

    async def replace(*_: Any, **__: Any) -> list[list[float]]:
        await slot.load(Path("other"), "other")
        return [[1.0]] * 64

    model.call = replace
    problem = await fault(served, PATH, input=["x"] * 130)
    assert (problem["status"], problem["code"]) == (503, "model_loading")
    assert len(await said(served, PATH, input=["x"] * 130)) == 4


async def test_an_empty_slot_is_named(served: Served):
    problem = await fault(served, PATH, input="a")
    assert (problem["status"], problem["code"]) == (400, "no_embedding_model")
    assert "embedding" in problem["message"]


async def test_the_field_of_a_text_that_is_refused_is_named(app: App, served: Served):
    await embedding(app, Narrow())
    long = await fault(served, PATH, input=["short", "a " * 70])
    assert (long["status"], long["param"]) == (400, "input")
    assert long["code"] == "context_length_exceeded"
    other = await fault(served, PATH, input="#")
    assert (other["param"], other["code"]) == ("input", "engine_refused")


async def test_vectors_as_numbers_and_as_bytes(app: App, served: Served):
    await embedding(app)
    floats = await said(served, PATH, input=["abc", "d e"])
    assert floats["object"] == "list"
    assert [each["index"] for each in floats["data"]] == [0, 1]
    assert floats["usage"] == {"prompt_tokens": 5, "total_tokens": 5}
    packed = await said(served, PATH, input=["abc", "d e"], encoding_format="base64")
    for number, text in zip(floats["data"], packed["data"], strict=True):
        data = base64.b64decode(text["embedding"])
        assert struct.pack("<3f", *number["embedding"]) == data
        assert [*struct.unpack("<3f", data)] == number["embedding"]


async def test_what_may_be_sent(app: App, served: Served):
    model = await embedding(app)
    ids = model.ids("abc", special=False)
    one, three = (
        await said(served, PATH, input=ids),
        await said(served, PATH, input=[ids, ids, ids]),
    )
    assert one["data"][0] == three["data"][0]
    assert one["data"][0]["embedding"][0] == 3.0  # The length of "abc".
    assert len(three["data"]) == 3
    wrong: list[tuple[Any, str]] = [
        ([], "input"), ("", "input[0]"), (["a", ""], "input[1]"), ([[]], "input[0]"),
        (["a", 1], "input[1]"), ([5000], "input"), ({"a": 1}, "input"), (None, "input"),
        (["a"] * 2049, "input"),
    ]  # fmt: skip
    for given, param in wrong:
        problem = await fault(served, PATH, input=given)
        assert (problem["status"], problem["param"]) == (400, param), given
    assert (await fault(served, PATH, input="a", dimensions=2))["param"] == "dimensions"
    assert (await fault(served, PATH, input="a", encoding_format="x"))["param"] == "encoding_format"
    assert (await said(served, PATH, input="a", dimensions=3))["data"]


class Voice:
    """Speaks by saying what it was told."""

    formats = ("wav",)

    async def speak(self, text: str, voice: str, speed: float, format: str) -> Recording:
        if text == "refuse":
            raise Refused("There is nothing to say. Write some words.")
        if text == "fail":
            raise RuntimeError("No such voice.")
        return Recording(f"{text}|{voice}|{speed}|{format}".encode(), "audio/wav")


class Ear:
    """Hears how many bytes there are."""

    async def hear(self, data: bytes, name: str, language: str) -> str:
        return f"{len(data)} bytes of {name} in {language}"


class Painter:
    """Paints the wish."""

    async def paint(self, prompt: str, negative: str, size: tuple[int, int], n: int) -> list[bytes]:
        return [f"{prompt}-{negative}-{size}-{each}".encode() for each in range(n)]


async def test_what_nobody_offers_is_told_so(served: Served):
    for path, body in (
        ("/v1/audio/speech", {"input": "Hi"}),
        ("/v1/images/generations", {"prompt": "A cat"}),
        ("/v1/moderations", {"input": "Hi"}),
        ("/v1/audio/transcriptions", {}),
    ):
        problem = await fault(served, path, **body)
        assert (problem["status"], problem["code"]) == (404, "not_offered")
    usage = await ask(served, "GET", "/v1/billing/usage")
    assert usage.json() == {"object": "list", "total_usage": 0}


async def test_speech(app: App, served: Served):
    add(app, SPEECH, Voice())
    answer = await post(served, "/v1/audio/speech", input="Hi", voice="alba", speed=1.5)
    assert (answer.content, answer.headers["content-type"]) == (b"Hi|alba|1.5|wav", "audio/wav")
    for body, param in (
        ({}, "input"), ({"input": ""}, "input"), ({"input": "a" * 5000}, "input"),
        ({"input": "Hi", "response_format": "opus"}, "response_format"),
        ({"input": "Hi", "speed": 9}, "speed"), ({"input": "refuse"}, "input"),
    ):  # fmt: skip
        problem = await fault(served, "/v1/audio/speech", **body)
        assert (problem["status"], problem["param"]) == (400, param), body


async def test_who_fails_at_what_it_offers_takes_no_api_along(
    app: App, served: Served, caplog: pytest.LogCaptureFixture
):
    add(app, SPEECH, Voice())
    for _ in range(3):
        problem = await fault(served, "/v1/audio/speech", input="fail")
        assert (problem["status"], problem["code"]) == (500, "failed")
    assert (await ask(served, "GET", "/v1/models")).status_code == 200
    assert "No such voice." in caplog.text


async def test_hearing(app: App, served: Served):
    add(app, HEARING, Ear())

    async def send(files: Any, **fields: str) -> httpx.Response:
        async with httpx.AsyncClient(timeout=60) as web:
            address = served.http + "/v1/audio/transcriptions"
            return await web.post(address, files=files, data=fields)

    file = {"file": ("a.wav", b"RIFF", "audio/wav")}
    assert (await send(file, language="de")).json() == {"text": "4 bytes of a.wav in de"}
    assert (await send(file, response_format="text")).text == "4 bytes of a.wav in "
    wrong = await send(file, response_format="srt")
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "response_format")
    wrong = await send({"other": ("a", b"x")})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "file")
    assert (await post(served, "/v1/audio/transcriptions", file="x")).status_code == 400


async def test_a_form_that_is_none_is_refused_and_takes_no_api_along(app: App, served: Served):
    add(app, HEARING, Ear())
    form = {"content-type": "multipart/form-data; boundary=B"}
    async with httpx.AsyncClient(base_url=served.http, headers=form, timeout=60) as web:
        for body in (
            b"x",
            b"--B\r\n\r\nx\r\n--B--",
            b"--B\r\nContent-Disposition: form-data\r\n\r\n",
        ):
            answer = await web.post("/v1/audio/transcriptions", content=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_form")
    assert (await ask(served, "GET", "/v1/models")).status_code == 200


async def test_pictures(app: App, served: Served):
    add(app, PICTURES, Painter())
    path = "/v1/images/generations"
    answer = await said(served, path, prompt="A cat", size="64x32", n=2, negative_prompt="dog")
    found = [base64.b64decode(each["b64_json"]) for each in answer["data"]]
    assert found == [b"A cat-dog-(64, 32)-0", b"A cat-dog-(64, 32)-1"]
    for body, param in (
        ({}, "prompt"), ({"prompt": "a", "size": "big"}, "size"), ({"prompt": "a", "n": 99}, "n"),
        ({"prompt": "a", "response_format": "url"}, "response_format"),
    ):  # fmt: skip
        problem = await fault(served, path, **body)
        assert (problem["status"], problem["param"]) == (400, param)
