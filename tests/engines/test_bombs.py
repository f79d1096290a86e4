"""E43, E44: grammars, schemas and pictures that are bombs, by each API, with a real engine.

Each is refused or answered, and who talks beside it loses no word.
"""

import asyncio
import base64
import json
import struct
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from extensions.llama_cpp.test_images import png
from kernel.testing import running
from tests.engines.real import STORIES, STORY, interpreter
from tests.engines.tiny import make_eyes
from tests.sockets import Served, render_one, serving, until_left

pytestmark = [pytest.mark.engine, pytest.mark.asyncio(loop_scope="module")]
APIS = (
    "openai_api", "anthropic_api", "ollama_api", "llama_server_api", "kobold_api", "legacy_api",
    "websocket_api", "text_api", "tool_calls", "instruct", "models",
)  # fmt: skip
ASK = [{"role": "user", "content": "Hello?"}]
GOOD = ("a loop", "itself", "doubled", "very many words")
"""What an engine may be able to hold, and then answers."""
SCHEMAS: dict[str, dict[str, Any]] = {
    "a billion items": {"type": "array", "items": {"type": "string"}, "minItems": 10**9},
    "itself": {"$ref": "#"},
    "a loop": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#"}}},
    "somewhere else": {"$ref": "http://127.0.0.1:9/schema.json"},
    "a file": {"$ref": "file:///etc/passwd"},
    "a slow pattern": {"type": "string", "pattern": "(a+)+$"},
    "very many words": {"enum": [f"word {n}" for n in range(20_000)]},
    "doubled": {"$ref": "#/$defs/a0", "$defs": {
        f"a{n}": {"anyOf": [{"$ref": f"#/$defs/a{n + 1}"}] * 2} for n in range(60)
    } | {"a60": {"type": "null"}}},
}  # fmt: skip
GRAMMARS = {
    "left": 'root ::= root "x" | "y"',
    "copies": 'root ::= "' + "a" * 1000 + '"{2000}',
    "brackets": "root ::= " + "(" * 20_000 + '"a"' + ")" * 20_000,
    "no root": 'a ::= "b"',
    "ways": "\n".join([*(f"r{n} ::= r{n + 1} | r{n + 1}" for n in range(60)), 'r60 ::= "a"']),
}
HELD_UP = 5.0
"""Seconds within which each is answered, on a busy machine."""


MODELS = {
    "xllamacpp": ("llama_cpp", "stories260K.gguf"),
    "xllamacpp-native": ("llama_cpp", "stories260K.gguf"),
    "torch": ("transformers", "hf"),
}
PARAMS = ["xllamacpp", *(pytest.param(name, marks=pytest.mark.long) for name in [*MODELS][1:])]
"""Grammars and schemas are read by the same code for all."""


@pytest_asyncio.fixture(loop_scope="module", scope="module", params=PARAMS)
async def served(request: pytest.FixtureRequest, environments_dir: Path) -> AsyncIterator[Served]:
    python = interpreter(environments_dir / request.param)
    loader, model = MODELS[request.param]
    async with running(*APIS, loader, python=python) as app:
        await app.kernel.slot().load(STORIES / model, loader, {})
        async with serving(app) as served:
            await render_one(served)
            yield served


@pytest_asyncio.fixture(loop_scope="module")
async def seeing(environments_dir: Path, tmp_path: Path) -> AsyncIterator[Served]:
    python = interpreter(environments_dir / "xllamacpp")
    eyes = str(make_eyes(tmp_path / "mmproj.gguf"))
    async with running(*APIS, "llama_cpp", python=python) as app:
        await app.kernel.slot().load(STORIES / "stories260K.gguf", "llama_cpp", {"mmproj": eyes})
        async with serving(app) as served:
            yield served


def with_schema(schema: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """How each API is told what its reply has to be, as an answer or as a call of a tool."""
    named = {"type": "json_schema", "name": "it", "schema": schema}
    tool = {"type": "function", "function": {"name": "it", "parameters": schema, "strict": True}}
    whole = {"response_format": {"type": "json_schema", "json_schema": named}}
    yield "/v1/chat/completions", {"messages": ASK, "max_tokens": 4, **whole}
    forced = {"tools": [tool], "tool_choice": "required"}
    yield "/v1/chat/completions", {"messages": ASK, "max_tokens": 4, **forced}
    yield "/v1/completions", {"prompt": "x", "max_tokens": 4, "json_schema": schema}
    yield "/v1/responses", {"input": "x", "max_output_tokens": 16, "text": {"format": named}}
    form = {"type": "json_schema", "schema": schema}
    yield "/v1/messages", {"messages": ASK, "max_tokens": 4, "output_config": {"format": form}}
    any_tool = {"tools": [{"name": "it", "input_schema": {"type": "object", **schema}}]}
    forced = {**any_tool, "tool_choice": {"type": "any"}}
    yield "/v1/messages", {"messages": ASK, "max_tokens": 4, **forced}
    few = {"options": {"num_predict": 4}, "stream": False, "format": schema}
    yield "/api/chat", {"messages": ASK, **few}
    yield "/api/generate", {"prompt": "x", **few}
    yield "/completion", {"prompt": "x", "n_predict": 4, "json_schema": schema}


def with_grammar(grammar: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield "/v1/completions", {"prompt": "x", "max_tokens": 4, "grammar_string": grammar}
    yield "/completion", {"prompt": "x", "n_predict": 4, "grammar": grammar}
    yield "/api/v1/generate", {"prompt": "x", "max_length": 4, "grammar": grammar}
    chat = {"user_input": "x", "history": {"internal": [], "visible": []}, "max_new_tokens": 4}
    yield "/api/v1/chat", {**chat, "mode": "instruct", "grammar_string": grammar}


def with_picture(data: bytes, kind: str, many: int = 1) -> Iterator[tuple[str, dict[str, Any]]]:
    plain = base64.b64encode(data).decode()
    url = f"data:{kind};base64,{plain}"
    said = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}] * many}]
    yield "/v1/chat/completions", {"messages": said, "max_tokens": 4}
    seen = [{"type": "input_image", "image_url": url}] * many
    told = [{"role": "user", "content": seen}]
    yield "/v1/responses", {"input": told, "max_output_tokens": 16}
    source = {"type": "base64", "media_type": kind, "data": plain}
    said = [{"role": "user", "content": [{"type": "image", "source": source}] * many}]
    yield "/v1/messages", {"messages": said, "max_tokens": 4}
    few = {"options": {"num_predict": 4}, "stream": False}
    said = [{"role": "user", "content": "Hello?", "images": [plain] * many}]
    yield "/api/chat", {"messages": said, **few}
    yield "/api/generate", {"prompt": "x", "images": [plain] * many, **few}


class Beside:
    """Somebody who asks again and again while others do harm, and wants each word."""

    def __init__(self, web: httpx.AsyncClient) -> None:
        self._web, self.replies = web, 0

    async def __aenter__(self) -> None:
        self._task = asyncio.create_task(self._talk())

    async def __aexit__(self, *_: object) -> None:
        before = self.replies
        async with asyncio.timeout(30):
            while self.replies < before + 2 and not self._task.done():  # It goes on.
                await asyncio.sleep(0.01)
        self._task.cancel()
        await asyncio.wait({self._task})
        if not self._task.cancelled():
            self._task.result()

    async def _talk(self) -> None:
        body = {"prompt": "Once upon a time", "max_tokens": 24, "temperature": 0}
        while True:
            said = (await self._web.post("/v1/completions", json=body)).json()
            assert said["choices"][0]["text"] == STORY
            self.replies += 1


@pytest_asyncio.fixture(loop_scope="module")
async def web(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.http, timeout=HELD_UP) as web:
        yield web
    await until_left(served)


async def harm(web: httpx.AsyncClient, path: str, body: dict[str, Any]) -> httpx.Response:
    answer = await web.post(path, json=body)
    assert answer.status_code in (200, 400), (path, answer.text)
    assert "Traceback" not in answer.text
    return answer


async def test_e43_schemas(web: httpx.AsyncClient):
    async with Beside(web):
        for name, schema in SCHEMAS.items():
            for path, body in with_schema(schema):
                answer = await harm(web, path, body)
                if name not in GOOD and "tools" not in body:  # A call keeps to what fits.
                    assert answer.status_code == 400, (name, path, answer.text)


async def test_e43_grammars(web: httpx.AsyncClient):
    async with Beside(web):
        for name, grammar in GRAMMARS.items():
            for path, body in with_grammar(grammar):
                answer = await harm(web, path, body)
                assert answer.status_code == 400, (name, path, answer.text)


async def test_e43_over_the_socket(served: Served, web: httpx.AsyncClient):
    bombs: list[Any] = [*GRAMMARS.values(), *SCHEMAS.values()]
    async with Beside(web), served.connect() as program:
        for number, grammar in enumerate(bombs):
            ask = {"type": "start", "id": f"g{number}", "prompt": "x", "grammar": grammar}
            await program.send(json.dumps({**ask, "sampling": {"max_new_tokens": 4}}))
            async with asyncio.timeout(HELD_UP):
                while (said := json.loads(await program.recv())["type"]) not in ("done", "error"):
                    continue
            assert said == "error" or number >= len(GRAMMARS), grammar


GIANT = (
    b"GIF89a" + struct.pack("<HH", 65_535, 65_535) + b"\x80\0\0" + bytes(6) + b"!\xf9\4" + bytes(4)
)
TALL = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 50_000, 50_000) + b"\x08\2\0\0\0"
PICTURES = {
    "a GIF of four billion dots": (GIANT, "image/gif"),
    "a PNG of 2.5 billion dots": (TALL + bytes(99), "image/png"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(99), "image/jp2"),
    "SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>", "image/svg+xml"),
    "WebP": (b"RIFF\x1e\0\0\0WEBPVP8X" + bytes(99), "image/webp"),
    "words": (b"not a picture", "image/png"),
    "nothing": (b"", "image/png"),
    "JPEG of segments": (b"\xff\xd8" + b"\xff\xe1\0\2" * 100_000, "image/jpeg"),
    "PNG that ends": (png((1, 2, 3))[:60], "image/png"),
}


async def test_e44_pictures(seeing: Served):
    async with httpx.AsyncClient(base_url=seeing.http, timeout=HELD_UP) as web, Beside(web):
        for name, (data, kind) in PICTURES.items():
            for path, body in with_picture(data, kind):
                answer = await harm(web, path, body)
                assert answer.status_code == 400, (name, path, answer.text)
        for path, body in with_picture(png((1, 2, 3)), "image/png", many=100):
            answer = await harm(web, path, body)
            assert answer.status_code == 400, (path, answer.text)
            assert "100 pictures" in answer.text
        for path, body in with_picture(png((1, 2, 3)), "image/png"):
            assert (await harm(web, path, body)).status_code == 200, path
