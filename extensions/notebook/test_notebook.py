"""What the chat sends to the notebook; all else of it is tested in extensions/writing."""

from typing import Any

from extensions.conversations.api import STORE
from extensions.writing.api import WRITING
from kernel.testing import App, Scripted, running


class Templated(Scripted):
    """Its template says who speaks."""

    async def call(self, name: str, **data: Any) -> Any:
        if name != "template":
            return str(data["text"]).split()
        said = [f"<{m['role']}>{m['parts'][0]['text']}" for m in data["messages"]]
        return "".join(said) + ("" if data.get("continue_") else "<assistant>")


async def asked(app: App) -> tuple[str, str]:
    """The ids of a question and of its answer."""
    page = await app.open("/chat")
    await page.act("chat.send", text="What is a\nspindle?", conversation="")
    await page.until('data-busy="false"')
    await app.until(lambda: bool(page.client.subject))
    [store] = app.kernel.registry.values(STORE)
    await page.until("A rod")
    messages = (await store.get(page.client.subject)).messages
    return messages[0].id, messages[1].id


async def test_a_conversation_becomes_a_text_with_its_exact_prompt():
    async with running("chat", "notebook", model=Templated("A rod.")) as app:
        question, answer = await asked(app)
        [writing] = app.kernel.registry.values(WRITING)
        page = await app.open("/chat")
        for message, prompt in (
            (question, "<user>What is a\nspindle?<assistant>"),
            (answer, "<user>What is a\nspindle?<assistant>A rod."),
        ):
            page.html = ""
            await page.act("notebook.send", message=message)
            await page.until("Notebook now")
            [name, *_] = [entry.name for entry in await writing.library.list()]
            assert name.startswith("What is a spindle")
            names = [entry.name for entry in await writing.library.list()]
            texts = [(await writing.library.sheet(name)).text for name in names]
            assert prompt in texts


async def test_without_a_model_nothing_is_sent():
    async with running("chat", "notebook", model=Templated("A rod.")) as app:
        question, _ = await asked(app)
        await app.kernel.slot().unload()
        [store] = app.kernel.registry.values(STORE)
        talk = (await store.message(question)).conversation
        page = await app.open(f"/chat/{talk}")
        await page.act("chat.menu", message=question)
        await page.until("Send to notebook")
        await page.act("notebook.send", message=question)
        await page.until("No model is loaded, whose template makes the prompt")
