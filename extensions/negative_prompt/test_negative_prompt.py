"""What is sent from the chat stands in Parameters and goes back."""

import json
import re
from html import unescape
from pathlib import Path
from typing import Any

from extensions.conversations.api import STORE
from extensions.parameters.api import PARAMETERS
from kernel.testing import App, Scripted, running

RUN = ("chat", "negative_prompt")


class Templated(Scripted):
    """Its template says who speaks."""

    async def call(self, name: str, **data: Any) -> Any:
        if name != "template":
            return str(data["text"]).split()
        said = [f"<{m['role']}>{m['parts'][0]['text']}" for m in data["messages"]]
        return "".join(said) + ("" if data.get("continue_") else "<assistant>")


async def talk(app: App, page: Any) -> list[str]:
    """The ids of what was said and answered."""
    await page.act("chat.send", text="Be dull.\n<b>", conversation="")
    await page.until('data-busy="false"')
    await page.until("A rod")
    [store] = app.kernel.registry.values(STORE)
    return [message.id for message in (await store.get(page.client.subject)).messages]


async def test_a_conversation_becomes_the_negative_prompt_and_the_one_before_comes_back():
    model = Templated("A rod.", "More.", samplers=("negative_prompt", "guidance_scale"))
    async with running(*RUN, model=model) as app:
        page, tab = await app.open("/chat"), await app.open("/parameters")
        [parameters] = app.kernel.registry.values(PARAMETERS)
        question, answer = await talk(app, page)
        await parameters.set("negative_prompt", "Before.")
        await page.act("negative_prompt.send", message=question)
        prompt = "<user>Be dull.\n<b><assistant>"
        assert parameters.typed("negative_prompt") == prompt
        await tab.until("&lt;user&gt;Be dull.\n&lt;b&gt;&lt;assistant&gt;</textarea>")
        await app.say("Hi", client="page")
        assert model.asked[-1].sampling.negative_prompt == prompt
        page.html = page.html or ""
        [undo] = re.findall(r"hx-vals='(\{[^']*parameters\.set[^']*Before\.[^']*\})'", page.html)
        vals = json.loads(unescape(undo))
        await page.act(vals.pop("action"), **vals)
        assert parameters.typed("negative_prompt") == "Before."
        await page.act("negative_prompt.send", message=answer)
        assert parameters.typed("negative_prompt") == "<user>Be dull.\n<b><assistant>A rod."


async def test_without_a_model_it_stays_as_it_is():
    async with running(*RUN, model=Templated("A rod.")) as app:
        page = await app.open("/chat")
        [question, _] = await talk(app, page)
        await app.kernel.slot().unload()
        [parameters] = app.kernel.registry.values(PARAMETERS)
        await parameters.set("negative_prompt", "Before.")
        await page.act("negative_prompt.send", message=question)
        await page.until("No model is loaded, whose template makes the prompt")
        assert parameters.typed("negative_prompt") == "Before."


async def test_what_is_incognito_does_not_reach_the_disk(tmp_path: Path):
    async with running(*RUN, model=Templated("A rod."), data=tmp_path) as app:
        page = await app.open("/chat")
        await page.act("chat.incognito")
        page.html = ""
        await page.act("chat.send", text="A secret.", conversation=page.client.subject)
        await page.until("A rod")
        [store] = app.kernel.registry.values(STORE)
        question = (await store.get(page.client.subject)).messages[0].id
        await page.act("negative_prompt.send", message=question)
        await page.until("This conversation is incognito")
        [parameters] = app.kernel.registry.values(PARAMETERS)
        assert not parameters.typed("negative_prompt")
