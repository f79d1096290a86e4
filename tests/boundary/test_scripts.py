"""C24, C25, C28: every vector through every text that can reach the page, in a real browser."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from playwright.async_api import Page, expect

from extensions.converter.finding import MOST
from kernel.api import safe_name
from tests.boundary.corpus import sample
from tests.boundary.corpus import vectors as everything
from tests.boundary.planted import PAIRS, WORD, names, plant, repositories
from tests.boundary.served import Served
from tests.boundary.watching import Watch, watching
from tests.hub import Hub, serving

pytestmark = [pytest.mark.browser, pytest.mark.timeout(1200)]
SOME = 120
"""One in so many vectors, without --long."""
SHARES = 4
"""With it all of them, but a page no fuller than a page may be: so many servers, one by one."""


@pytest.fixture(scope="module", params=range(SHARES))
def vectors(request: pytest.FixtureRequest) -> list[str]:
    share: int = request.param
    if request.config.getoption("--long"):
        return everything()[share::SHARES]
    if share:
        pytest.skip("long: runs with --long")
    return sample(SOME)


@pytest.fixture(scope="module")
def planted(
    tmp_path_factory: pytest.TempPathFactory, vectors: list[str], environments_dir: Path
) -> Iterator[Served]:
    folder: Path = tmp_path_factory.mktemp("planted")
    plant(folder / "data", folder / "models", vectors)
    flags = [
        *("--model-dir", str(folder / "models"), "--lora-dir", str(folder / "loras")),
        *("--environments-dir", str(environments_dir)),
    ]
    server = Served(folder, *flags)
    with serving(Hub(*repositories(vectors))) as hub, pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_ENDPOINT", hub.address)
        try:
            server.start()
            yield server
        finally:
            server.stop()


async def go(watch: Watch, page: Page, path: str) -> None:
    """Open an address, and wait until the page is live."""
    await page.goto(watch.origin + path)
    await page.wait_for_function("() => window.spindleGot?.length > 0")
    assert not await watch.look(page), path


def as_parsed(text: str) -> str:
    """What a browser makes of a text that was escaped well."""
    return text.replace("\0", "").replace("\r", "\n")


def in_box(text: str) -> str:
    """What a browser makes of it between the tags of a box for text."""
    return text.removeprefix("\ufeff").replace("\0", "\ufffd").replace("\r", "\n")


def few(vectors: list[str], many: int) -> list[str]:
    """A quarter as many of them, evenly; with --long as many of each share."""
    many = many if len(vectors) > 100 else -(-many // 4)
    return vectors[:: max(1, len(vectors) // many)]


PRESSED = """
async () => {
  const before = spindleSent.length, inside = document.querySelectorAll('.prose *, .chat-bubble');
  for (const e of inside) {
    if (e.closest('a, .code button')) continue;                  // a link leads where it says
    for (const kind of ['pointerenter', 'mouseover', 'focus', 'pointerdown', 'click', 'dblclick',
                        'input', 'change', 'submit', 'keydown', 'load', 'error', 'animationstart',
                        'toggle', 'htmx:load', 'htmx:ws:message'])
      e.dispatchEvent(new Event(kind, {bubbles: true, cancelable: true}));
  }
  if (window.htmx) htmx.process(document.querySelector('#chat-log'));
  await new Promise(done => setTimeout(done, 50));
  return [inside.length, spindleSent.slice(before)];
}
"""


async def inert(watch: Watch, page: Page) -> None:
    """C25: words that are touched, clicked and processed by htmx once more do nothing."""
    at = page.url
    touched, sent = await page.evaluate(PRESSED)
    assert touched > 10
    assert sent == []
    bodies = page.locator(".chat-body:not(:has(a))")
    for number in range(0, await bodies.count(), 20):
        await bodies.nth(number).click(position={"x": 5, "y": 5}, force=True)
    assert page.url == at
    links = page.locator(".prose a")
    for href, target, rel in await links.evaluate_all(
        "links => links.map(a => [a.getAttribute('href'), a.target, a.rel])"
    ):
        assert re.match(r"(?i)https?://|mailto:", href)
        assert (target, rel) == ("_blank", "noopener noreferrer")
    assert not await watch.look(page)


async def stored_conversations(watch: Watch, page: Page, vectors: list[str]) -> None:
    for first in range(0, len(vectors), PAIRS):
        await go(watch, page, f"/chat/talk{first}")
        some = [as_parsed(vector) for vector in vectors[first : first + PAIRS]]
        assert await page.locator(".chat-bubble").all_text_contents() == some
        assert await page.locator(".chat-reply > h2").all_text_contents() == some
        assert await page.locator(".chat-error > p").all_text_contents() == some
        await inert(watch, page)


async def titles_and_what_a_search_finds(watch: Watch, page: Page, vectors: list[str]) -> None:
    await go(watch, page, "/chat")
    for _ in range(len(vectors) // 100):
        await page.click("#chat-more")
        await page.wait_for_timeout(50)
    titles = page.locator("#chat-conversations a[href*=titled]")
    await expect(titles).to_have_count(len(vectors))
    assert set(await titles.all_text_contents()) == {as_parsed(vector) for vector in vectors}
    for words in (WORD, "canary", *few(vectors, 5)):
        await watch.act(page, "chat.search", text=words)
    await expect(page.locator("#chat-conversations a").first).to_be_visible()
    assert not await watch.look(page)


async def a_conversation_called_like_that(watch: Watch, page: Page, vectors: list[str]) -> None:
    """The title of the window and of the panel; opened, renamed, deleted and taken back."""
    for vector in few(vectors, 5):
        at = f"titled{vectors.index(vector)}"
        await go(watch, page, f"/chat/{at}")
        assert await page.title() == " ".join(as_parsed(vector).split()).strip()
        await watch.act(page, "chat.rename", conversation=at, title=vector + "!")
        await watch.act(page, "chat.delete", conversation=at)
        await expect(page.locator(".toast p").last).to_contain_text("was deleted")
        await watch.act(page, "chat.undelete", conversation=at)
        assert not await watch.look(page)


async def folders_and_tags_and_the_trash(watch: Watch, page: Page, vectors: list[str]) -> None:
    """Names of folders, tags, the dialog of a conversation, what is deleted."""
    await go(watch, page, "/chat")
    some = [as_parsed(vector) for vector in vectors[::40]]
    assert await page.locator(".chat-fold > span").count() >= len({v[:60] for v in some}) - 5
    for number in range(0, len(some), max(1, len(some) // 5)):
        await watch.act(page, "conversations.sheet", conversation=f"filed{number}")
        await expect(page.locator("#conversations-sheet h2")).to_have_text(
            " ".join(some[number].split()), use_inner_text=False
        )
        assert not await watch.look(page)
    for vector in few(vectors, 5):
        await watch.act(page, "conversations.make_folder", name=vector)
        await watch.act(page, "conversations.remove_folder", folder=vector)
        await watch.act(
            page, "conversations.arrange", conversation="filed0", title=vector, tags=vector
        )
        assert not await watch.look(page)
    await go(watch, page, "/settings/conversations")
    deleted = page.locator("#conversations-trash h3")
    await expect(deleted).to_have_count(len(some))
    assert set(await deleted.all_text_contents()) == set(some)
    assert not await watch.look(page)


async def what_is_imported(watch: Watch, page: Page, vectors: list[str]) -> None:
    """Files of other programs, with vectors in every text and in their names."""
    some = few(vectors, 24)
    rows = [[vector, vector] for vector in some]
    shown = [[html.escape(vector), vector] for vector in some]
    about = {f"assistant_{n}": {"model_name": v, "timestamp": v} for n, v in enumerate(some)}
    lines = [{"user_name": "You", "character_name": some[0]}]
    lines += [
        {"name": v, "is_user": n % 2 == 0, "mes": v, "swipes": [v, v], "swipe_id": 1,
         "extra": {"model": v, "reasoning": v}, "send_date": v}
        for n, v in enumerate(some)
    ]  # fmt: skip
    files = {
        f"{some[1]}.json": json.dumps({"internal": rows, "visible": shown, "metadata": about}),
        f"logs/chat/{some[2].replace('/', '')}/x.jsonl": "\n".join(map(json.dumps, lines)),
        f"{some[3]}.md": "\n".join(f"## {v} <!-- user -->\n\n{v}" for v in some),
        f"{some[4]}.txt": some[5],
    }
    await go(watch, page, "/settings/conversations")
    for number, (name, text) in enumerate(files.items()):
        query = urlencode({"name": name, "at": 0})
        path = f"/ext/conversations/incoming/{'a' * 20}/{number}?{query}"
        status = await page.evaluate(
            "([path, body]) => fetch(path, {method: 'POST', body}).then(answer => answer.status)",
            [path, text],
        )
        assert status == 204, name
    await watch.act(page, "conversations.take", batch="a" * 20)
    await expect(page.locator("#conversations-imported")).to_contain_text("imported, with")
    assert not await watch.look(page)
    await go(watch, page, "/chat")
    for link in (await page.locator("#chat-conversations a").all())[:6]:
        await go(watch, page, await link.get_attribute("href") or "")


async def cards_of_extensions(watch: Watch, page: Page, vectors: list[str]) -> None:
    """Manifests, folders, problems of settings.yaml, forms of settings."""
    await go(watch, page, "/settings")
    cards = page.locator("li.card h2")
    shown = set(await cards.all_text_contents())
    assert {as_parsed(vector) for vector in vectors[::5]} <= shown
    await page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    assert not await watch.look(page)
    for section in ("/settings/appearance", "/settings/access", "/settings/about", "/hostile/x"):
        await go(watch, page, section)
    for vector in few(vectors, 5):
        at = f"planted_{vectors.index(vector) // 5 * 5}"
        await watch.act(page, "settings.toggle", id=at, on=True)
        await watch.act(page, "settings.configure", id="hostile", text_0=vector)
        await watch.act(page, "settings.configure", id="token_probabilities", alternatives=vector)
    await go(watch, page, "/settings")


async def names_of_keys(watch: Watch, page: Page, vectors: list[str]) -> None:
    """In the list, in their forms, and in what is said when one is revoked."""
    await go(watch, page, "/settings/api_keys")
    titles = page.locator(".api_keys-key h2")
    assert set(await titles.all_text_contents()) == {as_parsed(vector) for vector in vectors}
    for vector in few(vectors, 5):
        id = f"{vectors.index(vector):064x}"[::-1][:12]
        await watch.act(page, "api_keys.revoke", id=id)
        await expect(page.locator(".toast p").last).to_contain_text("was revoked")
        await watch.act(page, "api_keys.bring_back", id=id)
        await watch.act(page, "api_keys.change", id=id, name=vector[:58] + "!")
        await watch.act(page, "api_keys.admit", origins=vector)
        assert not await watch.look(page)


async def files_of_models(watch: Watch, page: Page, vectors: list[str]) -> None:
    await go(watch, page, "/chat")
    await page.click("#models-open")
    files = page.locator("#models-list button")
    assert await files.count() > len([*names(vectors)]) * 0.9
    for number in range(0, await files.count(), 40):
        name = await files.nth(number).locator(".name").text_content()
        await files.nth(number).click()
        await expect(page.locator("#models-picker section.load h3")).to_have_text(name or "")
    await page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    assert not await watch.look(page)
    await go(watch, page, "/models")
    await expect(page.locator("#models-reading")).to_have_count(0, timeout=60_000)
    await expect(page.locator(".models-one").first).to_be_visible()
    assert not await watch.look(page)
    for vector in few(vectors, 12):
        await page.fill("#models-words", vector[:200])
        await page.press("#models-words", "Enter")
        assert not await watch.look(page)
        await go(watch, page, f"/models/file/said/{vectors.index(vector)}.gguf")
        await expect(page.locator("#models-facts .facts")).to_be_visible()
        assert not await watch.look(page)
        await go(watch, page, "/models")


async def adapters_of_all_kinds(watch: Watch, page: Page, vectors: list[str]) -> None:
    await go(watch, page, "/models/loras")
    rows = page.locator("#loras-all > li")
    assert await rows.count() >= len(vectors) + len([*names(vectors)]) * 0.9
    shown = "".join(await rows.all_text_contents())
    assert sum(WORD in part for part in shown.split("made for ")) > len(vectors) * 0.5
    assert not await watch.look(page)


async def what_a_hub_says(watch: Watch, page: Page, vectors: list[str]) -> None:
    """A search, repositories with their files and cards, and the list of small models."""
    await go(watch, page, "/models/downloader")
    many = len(repositories(vectors))
    shown = page.locator("#downloader-starters .downloader-row > a")
    assert await shown.count() > len(vectors) // 10
    for words in ("hostile", *few(vectors, 3)):
        await watch.act(page, "downloader.search", text=words)
        assert not await watch.look(page)
    await watch.act(page, "downloader.search", text="hostile")
    await expect(page.locator("#downloader-results li")).to_have_count(many)
    for number in range(many):
        await go(watch, page, f"/models/downloader/me/hostile{number}")
        await expect(page.locator("#downloader-files li").first).to_be_attached()
        await page.click("#downloader-about")
        await expect(page.locator("#downloader-card .prose")).to_contain_text(WORD)
        await page.evaluate(
            "() => document.querySelectorAll('details').forEach(d => d.open = true)"
        )
        assert not await watch.look(page)
        for take in (await page.locator(".downloader-take button:enabled").all())[:3]:
            await take.dispatch_event("click")
        await page.wait_for_timeout(50)
        assert not await watch.look(page)


async def files_to_be_converted(watch: Watch, page: Page, vectors: list[str]) -> None:
    """Of those that are called like that, the ones whose names may reach a path."""
    await go(watch, page, "/models")
    many = sum(1 for name in names(vectors) if safe(f"{name}.pt"))
    await expect(page.locator(".converter-one")).to_have_count(min(many, MOST))
    assert not await watch.look(page)


def safe(name: str) -> bool:
    try:
        return bool(safe_name(name))
    except ValueError:
        return False


async def characters_and_personas(watch: Watch, page: Page, vectors: list[str]) -> None:
    """The gallery with files that cannot be read, the editor of some, personas, and the trash."""
    await go(watch, page, "/characters")
    shown = set(await page.locator(".characters-card > b").all_text_contents())
    assert {" ".join(as_parsed(v).split()) for v in vectors} <= {" ".join(s.split()) for s in shown}
    await page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    await page.fill("#characters-find", WORD)
    for chip in await page.locator("[data-tag]").all():
        await chip.click()
    assert not await watch.look(page)
    for vector in few(vectors, 12):
        await go(watch, page, f"/characters/planted{vectors.index(vector)}")
        await page.evaluate(
            "() => document.querySelectorAll('details').forEach(d => d.open = true)"
        )
        assert await page.input_value("#characters-entry-0-content") == in_box(vector)
        assert not await watch.look(page)
        await page.get_by_role("button", name="Save", exact=True).click()
        await expect(page.locator("#characters-stamp")).to_contain_text("Saved.")
        assert not await watch.look(page)
    for vector in few(vectors[::8], 4):
        await go(watch, page, f"/characters/lore%3Aplanted{vectors[::8].index(vector)}")
        await page.evaluate(
            "() => document.querySelectorAll('details').forEach(d => d.open = true)"
        )
        assert await page.input_value("#characters-entry-0-content") == in_box(vector)
        assert not await watch.look(page)
    await page.click("#characters-delete-world")
    await expect(page.locator(".toast p").last).to_contain_text("in the trash")
    await go(watch, page, f"/characters/planted{vectors.index(few(vectors, 12)[-1])}")
    await page.click("#characters-delete")
    await expect(page.locator(".toast p").last).to_contain_text("in the trash")
    await page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    assert not await watch.look(page)


async def presets_and_grammars(watch: Watch, page: Page, vectors: list[str]) -> None:
    """Names of files, what is in them, what is typed into boxes, and what is wrong with it."""
    await go(watch, page, "/parameters")
    options = page.locator("#parameters-preset option, #parameters-grammar-file option")
    assert await options.count() > len([*names(vectors)])
    typed = ("custom_stopping_strings", "negative_prompt", "custom_token_bans", "logit_bias")
    for vector in few(vectors, 5):
        said = json.dumps(vector)
        for what in ("preset", "grammar"):
            await watch.act(page, "parameters.bring", what=what, name=vector, text=vector)
            await watch.act(page, "parameters.delete", what=what, name=vector)
        await watch.act(page, "parameters.bring", what="preset", name="odd", text=f"{said}: {said}")
        await watch.act(page, "parameters.choose", preset=vector)
        await watch.act(page, "parameters.choose", preset="odd")
        await watch.act(page, "parameters.delete", what="preset", name="odd")
        for name in typed:
            await watch.act(page, "parameters.set", name=name, value=f"{vector}: {vector}")
        for by in ("grammar", "schema"):
            texts = {"grammar": f"{vector}\nroot ::= {said}", "schema": f'{{"enum": [{said}]}}'}
            await watch.act(page, "parameters.constrain", by=by, **texts)
        await page.evaluate(
            "() => document.querySelectorAll('details').forEach(d => d.open = true)"
        )
        assert not await watch.look(page), vector
    await watch.act(page, "parameters.constrain", by="", grammar="", schema="")
    for name in typed:
        await watch.act(page, "parameters.reset", name=name)


VIEWS = (("markdown", ""), ("html", ""), ("logits", "logits"), ("tokens", "tokens"))


async def texts_of_the_notebook(watch: Watch, page: Page, vectors: list[str]) -> None:
    """Names of texts and of deleted ones, what is in them in each sub-tab, tokens, logits."""
    await go(watch, page, "/chat")
    await watch.act(page, "hostile.say", where="ready", first=0, last=1)
    there = {as_parsed(name) for name in names(vectors)}
    words = dict(zip(names(vectors), map(in_box, vectors), strict=False))
    for tab in ("notebook", "default"):
        await go(watch, page, f"/{tab}")
        listed = await page.locator("#writing-list .entry > a").all_text_contents()
        lost = len(there - {*listed}) - max(0, len(there) - 490)  # The list ends there.
        assert lost <= 1 + len(there) // 10  # One was renamed, and may have kept that.
        assert await page.locator("#writing-deleted li").count() > 0
        name = ""
        for name in few([*words], 5):
            await go(watch, page, f"/{tab}/{quote(name)}")
            assert await page.locator("#writing-title").text_content() == as_parsed(name)
            await expect(page.locator("#writing-text")).to_have_value(words[name])
            for view, ask in VIEWS:
                await watch.act(page, f"{tab}.show", name=name, view=view)
                await expect(page.locator(f"#writing-tabs[data-view={view}]")).to_be_attached()
                if ask:
                    await watch.act(page, f"{tab}.{ask}", name=name)
                    shown = page.locator("#writing-tokens > span, .writing-choices tbody tr")
                    await expect(shown).to_have_count(len(vectors))
                assert not await watch.look(page), (tab, view)
            await watch.act(page, f"{tab}.rename", name=name, title=f"{name}!")
            await watch.act(page, f"{tab}.rename", name=f"{name}!", title=name)
            assert not await watch.look(page), tab
        await watch.act(page, f"{tab}.delete", name=name)
        await expect(page.locator(".toast p").last).to_contain_text("was deleted")
        await expect(page.locator("#writing-title")).not_to_have_text(as_parsed(name))
        assert not await watch.look(page), tab
        await page.locator(".toast button", has_text="Undo").last.click()
        await expect(page.locator("#writing-text")).to_have_value(words[name])
        assert not await watch.look(page), tab
        del words[name]  # It may have come back by another name.


async def what_is_said_while_it_runs(watch: Watch, page: Page, vectors: list[str]) -> None:
    """Toasts, refusals, failures, jobs and their ends, a model's names and errors."""
    await go(watch, page, "/chat")
    whole = {"first": 0, "last": len(vectors)}
    for where in ("refusal", "failure", "toasts"):
        await watch.act(page, "hostile.say", where=where, **whole)
    said = page.locator(".toast > p")
    for _ in range(200):  # All were in the page; the last three stay.
        if (await said.all_text_contents())[-1:] == [as_parsed(vectors[-1])]:
            break
        await page.wait_for_timeout(100)
    assert (await said.all_text_contents())[-3:] == [as_parsed(v) for v in vectors[-3:]]
    assert not await watch.look(page)
    await go(watch, page, "/chat")
    await watch.act(page, "hostile.say", where="jobs", **whole)
    await expect(page.locator("#tray-list .job")).to_have_count(len(vectors))
    await page.click("#tray-open")
    assert not await watch.look(page)
    await watch.act(page, "hostile.say", where="failing jobs")
    await expect(said).to_have_count(3)
    assert not await watch.look(page)
    await go(watch, page, "/chat")
    for where in ("loading", "failed", "ready"):
        for first in range(0, len(vectors), 100):
            await watch.act(page, "hostile.say", where=where, first=first, last=first + 100)
            words = as_parsed(vectors[first])[:20].strip()
            await expect(page.locator("body")).to_contain_text(words)
            assert not await watch.look(page), where
    await go(watch, page, "/settings")


async def a_reply_as_it_is_written(watch: Watch, page: Page, vectors: list[str]) -> None:
    """A model that says vectors a few letters at a time; its thoughts, marks and errors."""
    await go(watch, page, "/chat")
    await watch.act(page, "hostile.say", where="ready", first=0, last=1)
    some = few(vectors, 16)
    replies = page.locator("article.chat-reply")
    for number, how in enumerate(("stream", "thoughts", "marks", "error"), 1):
        await page.fill("#chat-text", f"{how} 0 {len(vectors) if how == 'marks' else len(some)}")
        await page.keyboard.press("Enter")
        await expect(replies).to_have_count(number)
        while not await page.locator("#chat-go[data-busy=false]").count():
            assert not await watch.look(page), how
        assert not await watch.look(page), how


async def who_speaks_in_a_conversation(watch: Watch, page: Page, vectors: list[str]) -> None:
    """Characters, personas and their greetings: in the sheet, the empty state and a message."""
    for vector in few(vectors, 6):
        await go(watch, page, "/chat")
        await watch.act(page, "hostile.say", where="ready", first=0, last=1)
        said = {"mode": "hostile", "character": vector, "persona": vector, "template": vector}
        await watch.act(page, "chat.set_up", **said, command=vector, stopping_strings=vector)
        title = page.locator("#chat-empty h2")
        await expect(title).to_have_text(as_parsed(vector))
        assert not await watch.look(page)
        await watch.act(page, "chat.begin")
        heading = page.locator("article.chat-reply > h2")
        await expect(heading).to_have_text(as_parsed(vector))
        assert not await watch.look(page)
    await watch.act(page, "chat.set_up", mode="instruct")
    await go(watch, page, "/settings/prompts")
    for vector in few(vectors, 6):
        await watch.act(page, "prompts.preview", source=vector)
        assert not await watch.look(page)


async def what_the_inspector_shows(watch: Watch, page: Page, vectors: list[str]) -> None:
    """The sheets of stored replies, and of one whose question and request hold vectors."""
    await go(watch, page, "/chat/talk0")
    for number in range(0, min(PAIRS, len(vectors)), 12):
        await inspected(watch, page, number)
    await go(watch, page, "/chat")
    await watch.act(page, "hostile.say", where="stream", first=0, last=20)
    said = " ".join(few(vectors, 30))
    await watch.act(page, "chat.send", text=said, conversation="")
    await expect(page.locator("#chat-go[data-busy=false]")).to_be_visible(timeout=20_000)
    await inspected(watch, page, 0)
    changed = page.locator("#inspector-sheet")
    assert WORD in (await changed.text_content() or "")


async def inspected(watch: Watch, page: Page, number: int) -> None:
    """Open the sheet of a reply and all that is folded in it."""
    reply = page.locator("article.chat-reply").nth(number)
    id = (await reply.get_attribute("id") or "").removeprefix("chat-m")
    await reply.locator("[popovertarget=chat-menu]").dispatch_event("click")
    look = page.locator(f"#inspector-look-{id}")
    await look.dispatch_event("click")
    await expect(page.locator(f"#inspector-{id}")).to_be_visible()
    await page.evaluate("() => document.querySelectorAll('details').forEach(d => d.open = true)")
    assert not await watch.look(page)
    await page.locator("#inspector-sheet [data-close]").first.click()


async def addresses(watch: Watch, page: Page, vectors: list[str]) -> None:
    """What is typed into the address: a tab that is not there, a conversation, a section."""
    for number, vector in enumerate(few(vectors, 8)):
        at = ("/", "/chat/", "/settings/", "/chat?")[number % 4]
        await page.goto(watch.origin + at + quote(vector, safe=""))
        signs = [sign for sign in await watch.look(page) if "404" not in sign]
        assert not signs, vector
        watch.signs.clear()


async def every_action_with_a_vector(watch: Watch, page: Page, vectors: list[str]) -> None:
    """What a page may ask for, with a vector in each field that holds text: another in the next."""
    await go(watch, page, "/chat")
    for number, (name, field, needed) in enumerate(watch.actions):
        said = dict.fromkeys(needed, "0") | {field: vectors[number % len(vectors)]}
        await watch.act(page, name, **said)
        assert not watch.signs, (name, field)
    await expect(page.locator(".toast").first).to_be_visible()
    assert not await watch.look(page)


STEPS = (
    stored_conversations, titles_and_what_a_search_finds, a_conversation_called_like_that,
    folders_and_tags_and_the_trash, what_is_imported,
    cards_of_extensions, names_of_keys, files_of_models, adapters_of_all_kinds, what_a_hub_says,
    files_to_be_converted,
    characters_and_personas,
    presets_and_grammars,
    texts_of_the_notebook, what_is_said_while_it_runs, a_reply_as_it_is_written,
    who_speaks_in_a_conversation, what_the_inspector_shows, addresses,
    every_action_with_a_vector,
)  # fmt: skip


async def test_no_text_becomes_a_script(
    planted: Served,
    vectors: list[str],
    action_fields: list[tuple[str, str, list[str]]],
    pytestconfig: pytest.Config,
):
    """One browser for all: starting it costs more than most of the steps."""
    failed: dict[str, str] = {}
    whole = bool(pytestconfig.getoption("--long"))
    async with watching(planted.origin, planted.key, whole=whole) as (watch, page):
        watch.actions = action_fields
        for step in STEPS:
            watch.signs.clear()
            try:
                await step(watch, page, vectors)
            except Exception as error:  # The next step may tell more of it.
                shown = await page.locator("#main").inner_text()
                failed[step.__name__] = f"{error} {watch.signs[:5]} at {page.url}: {shown[:3000]}"
    assert not failed, "\n\n".join(f"{step}: {why}" for step, why in failed.items())
