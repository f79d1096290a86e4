"""From a page's text box into a real engine that sees: a tiny CLIP of random numbers."""

import shutil
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from extensions.conversations.api import STORE, StoredMessage
from kernel.api import REQUEST, Draft, Phase, Sampling
from kernel.testing import App, running
from tests.engines.real import STORIES, interpreter
from tests.engines.tiny import make_eyes

pytestmark = pytest.mark.engine
BOX = "ab" * 16


def png(color: tuple[int, int, int]) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        end = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + end

    rows = (b"\0" + bytes(color) * 28) * 28
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 28, 28, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


async def greedy(draft: Draft) -> Draft:
    """The likeliest words, so that only another prompt makes another reply."""
    sampling = Sampling(temperature=0.0, max_new_tokens=24)
    return structs.replace(draft, request=structs.replace(draft.request, sampling=sampling))


async def load(app: App, environment: Path, options: dict[str, Any]) -> None:
    python = interpreter(environment)

    async def prepare(manifest: Any, variant: str, report: Any, folder: Any = None) -> Path:
        return python

    app.kernel.workers.prepare = prepare
    app.kernel.models.mkdir(exist_ok=True)
    shutil.copy(STORIES / "stories260K.gguf", app.kernel.models / "story.gguf")
    await app.kernel.slot().load(app.kernel.models / "story.gguf", "llama_cpp", options)


async def tell(app: App, *pictures: bytes) -> StoredMessage:
    """The reply of a new conversation."""
    page = await app.open("/chat")
    await page.act("images.look", box=BOX)
    for each in pictures:
        answer = await app.fetch(f"/ext/images/waiting/{BOX}", "POST", body=each)
        assert answer.status == 204
    page.html = ""
    await page.act("chat.send", conversation="", text="Once upon a time")
    await page.until('chat-figures.*data-busy="false"', 60)
    (store,) = app.kernel.registry.values(STORE)
    reply = (await store.get(page.client.subject)).messages[-1]
    page.close()
    assert (reply.role, reply.error) == ("assistant", "")
    return reply


async def test_what_a_page_attaches_is_what_the_engine_sees(environments_dir: Path, tmp_path: Path):
    async with running("images", "llama_cpp") as app:
        add = app.kernel.registry.add
        add(REQUEST, greedy, "chat", phase=Phase.LATE, rank=0, rewrites=False)
        eyes = make_eyes(tmp_path / "mmproj.gguf")
        await load(app, environments_dir / "xllamacpp", {"mmproj": str(eyes)})
        model = app.kernel.slot().model
        assert model
        assert "images" in model.info.capabilities
        red, blue = png((255, 0, 0)), png((0, 0, 255))
        replies = [await tell(app, each) for each in (red, blue, red)]
        seen = [reply.text for reply in replies]
        assert seen[0] == seen[2]
        assert "" != seen[0] != seen[1]

        blind = await tell(app)
        more = replies[0].usage.prompt - blind.usage.prompt
        (counted,) = await model.call("pictures", sizes=[(28, 28)])
        assert counted == 4
        assert abs(more - counted) <= 2, "but for where it parts the words, it is what was read"


async def test_an_engine_without_eyes_answers_the_words(environments_dir: Path):
    async with running("images", "llama_cpp") as app:
        await load(app, environments_dir / "xllamacpp", {})
        assert (await tell(app, png((255, 0, 0)))).text
