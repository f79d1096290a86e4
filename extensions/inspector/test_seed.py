"""The seed that the sheet tells brings the same reply again, on every engine."""

import re
from pathlib import Path

import pytest

from extensions.inspector.test_inspector import ask, look
from kernel.api import Extension
from kernel.testing import App, Page, running
from tests.engines.real import STORIES, interpreter

pytestmark = pytest.mark.engine
ENGINES = (
    ("xllamacpp", "llama_cpp", "stories260K.gguf"),
    ("xllamacpp-native", "llama_cpp", "stories260K.gguf"),
    ("torch", "transformers", "hf"),
    pytest.param("torch", "llamacpp_hf", "stories260K.gguf", marks=pytest.mark.long),
)
TALK = ("instruct", "chat", "inspector", "parameters")


async def nothing(*_: object) -> None:
    """What an environment lacks: the one that is lent has all."""


async def told(app: App, page: Page) -> tuple[str, int]:
    """A reply in a conversation of its own, and the seed that its sheet tells."""
    page.client.subject = ""
    reply = await ask(app, page, "Once upon a time")
    found = re.search(r"<dt>Seed</dt><dd>([^<]*)", await look(page, reply))
    assert found
    return reply.text, int(found[1])


@pytest.mark.parametrize(("environment", "loader", "file"), ENGINES)
async def test_the_seed_that_is_told_repeats_the_reply(
    environment: str,
    loader: str,
    file: str,
    environments_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    needs = "llama_cpp" if loader == "llamacpp_hf" else ""
    python = interpreter(environments_dir / environment, needs)
    monkeypatch.setattr(Extension, "missing", nothing)
    async with running(*TALK, loader, python=python) as app:
        await app.kernel.slot().load(STORIES / file, loader, {})
        page = await app.open("/chat")
        await page.act("parameters.set", name="temperature", value="1")
        await page.act("parameters.set", name="max_new_tokens", value="12")
        _, seed = await told(app, page)
        other, another = await told(app, page)
        assert seed != another
        # The prompt of the second was known, as that of the third is: one that is read anew, or
        # lies elsewhere in the cache, may be rounded otherwise, and a word in a thousand is another
        # then. So the replies are short.
        await page.act("parameters.set", name="seed", value=str(another))
        again, same = await told(app, page)
        assert (again, same) == (other, another)
