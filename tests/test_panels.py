"""Panels that show panels: what they show is true, and has an end."""

import asyncio
from pathlib import Path
from typing import Any, cast

import pytest

from kernel.clients import EVERYONE
from kernel.pages import AGAIN
from kernel.testing import running
from tests.misbehaving.zoo import write

CODE = """
import asyncio
from kernel.api import PANELS, Everyone, Panel

async def setup(ext):
    ext.drawn = 0
    async def context(client, subject):
        ext.drawn += 1
        {work}
        return {{"drawn": ext.drawn}}
    for order in range({count}):
        ext.add(PANELS, Panel("{region}", "it.html", context, order=order, title="It"))
"""


def panel(root: Path, id: str, region: str, work: str = "pass", count: int = 1) -> None:
    """An extension with panels that do this before they show how often they were drawn."""
    code = CODE.format(work=work, region=region, count=count)
    write(root, id, code)
    (root / id / "templates" / "it.html").write_text(f"<p>{id} {{{{ drawn }}}}</p>")


NOTES = """
import asyncio
from kernel.api import PANELS, Action, Disconnected, Panel

class Note(Action, frozen=True):
    pass

async def setup(ext):
    ext.open, ext.gate, ext.waiting, ext.heard = set(), asyncio.Event(), 0, 0
    async def note(client):
        ext.waiting += 1
        await ext.gate.wait()
        ext.open.add(client)
    async def context(client, subject):
        await note(client)
        return {"drawn": 1}
    ext.add(PANELS, Panel("tab", "it.html", context, title="It"))
    @ext.on(Note)
    async def asked(action, client):
        await note(client)
    @ext.on(Disconnected)
    async def gone(event):
        ext.open.discard(event.client)
        ext.heard += 1
"""


@pytest.mark.parametrize("how", ["drawn", "asked"])
async def test_who_notes_a_page_that_left_meanwhile_hears_of_it(tmp_path: Path, how: str):
    panel(tmp_path, "notes", "tab")
    (tmp_path / "notes" / "__init__.py").write_text(NOTES)
    async with running("notes", folders=[tmp_path]) as app:
        notes, page = cast(Any, app.extension("notes")), app.page("/notes")
        doing = page.connect() if how == "drawn" else page.act("notes.note")
        work = asyncio.create_task(doing)
        await app.until(lambda: notes.waiting == 1)
        page.close()
        await app.until(lambda: notes.heard == 1)
        notes.gate.set()
        await work
        await app.until(lambda: not notes.open)


NEWS = """
        if ext.drawn == 1:  # In the moment between its end and what is made of it.
            news = '<p id="x" hx-swap-oob="innerHTML">newer</p>'
            asyncio.get_running_loop().call_soon(ext.push_html, news, Everyone())
"""


async def test_a_section_is_as_new_as_what_its_owner_told_before(tmp_path: Path):
    panel(tmp_path, "good", "settings", NEWS)
    async with running("settings", "good", folders=[tmp_path]) as app:
        page = app.page("/settings/good")
        await app.web.snapshot(page.client)
        await page.until("good 2")
        assert page.html.index("newer") < page.html.index("good 2")


async def test_panels_that_were_drawn_first_are_as_new_as_the_last(tmp_path: Path):
    panel(tmp_path, "quick", "composer")
    panel(tmp_path, "slow", "composer", "await asyncio.sleep(0.05)")
    async with running("quick", "slow", folders=[tmp_path]) as app:
        quick, slow = app.extension("quick"), cast(Any, app.extension("slow"))
        drawing = asyncio.create_task(slow.panels("composer", None, ""))
        await app.until(lambda: bool(slow.drawn))
        quick.push_html('<p id="x" hx-swap-oob="innerHTML">newer</p>', EVERYONE)
        assert await drawing == ["<p>quick 2</p>", "<p>slow 1</p>"]


async def test_one_that_tells_news_all_the_time_is_drawn_all_the_same(tmp_path: Path):
    panel(tmp_path, "busy", "composer", NEWS.replace("ext.drawn == 1", "True"))
    async with running("busy", folders=[tmp_path]) as app:
        assert await app.extension("busy").panels("composer", None, "") == ["<p>busy 3</p>"]


async def test_one_that_shows_itself_is_blamed_and_nobody_whom_it_shows(tmp_path: Path):
    panel(tmp_path, "bad", "composer", 'await ext.panels("composer", client, subject)')
    panel(tmp_path, "shown", "composer", 'await ext.panels("message_actions", client, subject)')
    panel(tmp_path, "leaf", "message_actions")
    async with running("bad", "shown", "leaf", folders=[tmp_path]) as app:
        await app.extension("leaf").panels("composer", None, "")
        assert app.kernel.trouble.keys() == {"bad"}
        assert "shows itself" in str(app.kernel.trouble)


SHY = """
        try:
            await ext.panels("composer", client, subject)
        except Exception:
            pass
"""


@pytest.mark.parametrize("deep", [True, False])
async def test_one_that_shows_itself_for_less_is_never_blamed(tmp_path: Path, deep: bool):
    """Neither within one that does so for ever, nor beside one that hides that it does."""
    less = 'await ext.panels("sidebar", client, subject[1:]) if subject else None'
    bad = 'await ext.panels("composer", client, subject)'
    panel(tmp_path, "bad", "composer", bad if deep else SHY, count=1 if deep else 2)
    panel(tmp_path, "tree", "sidebar", less)
    both = [f'await ext.panels("{region}", client, subject)' for region in ("composer", "sidebar")]
    panel(tmp_path, "root", "models", "; ".join(both))
    if deep:
        panel(tmp_path, "shown", "composer", both[1])
    ids = ["bad", "tree", "root", *(["shown"] if deep else [])]
    async with running(*ids, folders=[tmp_path]) as app:
        await app.extension("root").panels("models", None, "xxx")
        assert app.kernel.trouble.keys() == ({"bad"} if deep else set())


LIVES = """
import asyncio
from kernel.api import PANELS, Everyone, Panel

async def setup(ext):
    closed = []
    ext.defer(lambda: closed.append(1))
    async def context(client, subject):
        if closed:
            raise RuntimeError("its database is closed")
        return {}
    ext.add(PANELS, Panel("composer", "it.html", context))
    ext.push_html('<p id="x" hx-swap-oob="innerHTML">news</p>', Everyone())
"""


async def test_what_began_anew_meanwhile_is_not_asked_for_its_former_life(tmp_path: Path):
    write(tmp_path, "quick", LIVES)
    panel(tmp_path, "slow", "composer", "await asyncio.sleep(0.1)")
    async with running("quick", "slow", folders=[tmp_path]) as app:
        slow: Any = app.extension("slow")
        drawing = asyncio.create_task(slow.panels("composer", None, ""))
        await app.until(lambda: bool(slow.drawn))
        await app.kernel.restart("quick")
        assert (await drawing)[-1] == "<p>slow 1</p>"
        assert app.kernel.trouble == {}


async def test_draws_do_not_multiply_with_each_level(tmp_path: Path):
    busy = NEWS.replace("ext.drawn == 1", "True")
    levels = ["composer", "sidebar", "message_actions", "models"]
    for at, region in enumerate(levels):
        below = "".join(f"await ext.panels('{each}', client, '')" for each in levels[at + 1 :][:1])
        panel(tmp_path, f"at{at}", region, below + busy)
    async with running("at0", "at1", "at2", "at3", folders=[tmp_path]) as app:
        first: Any = app.extension("at0")
        await first.panels("composer", None, "")
        drawn = [cast(Any, app.extension(f"at{at}")).drawn for at in range(4)]
        assert drawn == [3, 9, 9, 9]


@pytest.mark.parametrize("work", ['await ext.panels("composer", client, subject)', SHY])
async def test_panels_that_show_each_other_have_an_end(tmp_path: Path, work: str):
    panel(tmp_path, "mirror", "composer", work, count=2)
    async with running("mirror", folders=[tmp_path]) as app:
        mirror: Any = app.extension("mirror")
        async with asyncio.timeout(20):
            await mirror.panels("composer", None, "")
        assert mirror.drawn <= 2 * 2 * (1 + AGAIN), "each of both, within each of both"


async def test_a_panel_may_show_itself_for_less(tmp_path: Path):
    less = 'await ext.panels("composer", client, subject[1:]) if subject else None'
    panel(tmp_path, "tree", "composer", less)
    async with running("tree", folders=[tmp_path]) as app:
        tree: Any = app.extension("tree")
        assert await tree.panels("composer", None, "x" * 14) == ["<p>tree 15</p>"]
        assert app.kernel.trouble == {}
