"""The Settings tab: cards, switches, forms, order, theme."""

import shutil
from html import unescape
from pathlib import Path

import pytest
from msgspec import structs

from extensions.settings.actions import Configure
from extensions.settings.builds import builds
from kernel.api import Refused
from kernel.testing import App, running

EXAMPLE = '''"""For the tests of the Settings tab."""
from typing import Annotated
from kernel.api import Meta, Struct

class Settings(Struct, frozen=True):
    speed: Annotated[float, Meta(ge=0.5, le=2, description="How fast.")] = 1.0

async def setup(ext):
    if (ext.data_root / "fail").exists():
        raise RuntimeError("the belt is torn")
'''


def example(root: Path) -> None:
    folder = root / "example"
    folder.mkdir()
    (folder / "extension.toml").write_text(
        'id = "example"\nname = "Example"\nversion = "1"\nsummary = "For <b>tests</b>."\n'
        'api = 1\npermissions = ["network:none", "files:read models"]\n'
    )
    (folder / "__init__.py").write_text(EXAMPLE)


async def test_a_card_says_what_it_is_and_may_do_and_nothing_of_it_is_markup(tmp_path: Path):
    example(tmp_path)
    async with running("settings", "example", folders=[tmp_path]) as app:
        page = await app.open("/settings")
        await page.until("For &lt;b&gt;tests&lt;/b&gt;")
        assert "<dt>It asks for</dt><dd>no network, reading files in models</dd>" in page.html
        assert "Its code runs inside the server, which cannot hold it to this" in page.html
        assert "What has to be contained runs in a worker" in page.html


async def test_a_switch_is_carried_out_shown_and_written(tmp_path: Path):
    example(tmp_path)
    async with running("settings", "example", folders=[tmp_path], data=tmp_path) as app:
        page = await app.open("/settings")
        for on, word in ((False, "false"), (True, "true")):
            page.html = ""
            await page.act("settings.toggle", id="example", on=on)
            await page.until(f'id="settings-example-toggle"[^>]*aria-checked="{word}"')
            assert f"enabled: {word}" in (tmp_path / "settings.yaml").read_text()
            assert app.kernel.records["example"].status == ("running" if on else "off")


async def test_in_safe_mode_a_switch_is_a_wish_and_starting_is_a_way_of_its_own(tmp_path: Path):
    example(tmp_path)
    settings = "extensions:\n  example:\n    enabled: true\n"
    async with running("settings", folders=[tmp_path], data=tmp_path, settings=settings) as app:
        app.kernel.flags["kernel"] = {"safe_mode": True}
        file, record = tmp_path / "settings.yaml", app.kernel.records["example"]
        page = await app.open("/settings")
        switch = 'id="settings-example-toggle"[^>]*aria-checked="{}"'
        await page.until("Not running: safe mode")
        await page.until(switch.format("true"))
        for on, word in ((False, "false"), (True, "true")):
            page.html = ""
            await page.act("settings.toggle", id="example", on=on)
            await page.until(switch.format(word))
            assert f"enabled: {word}" in file.read_text()
            assert record.status == "off"
        await page.act("settings.toggle", id="example", on=False)
        for on, word in ((True, "running"), (False, "off")):
            page.html = ""
            await page.act("settings.run", id="example", on=on)
            await page.until("Running for now" if on else "Not running: safe mode")
            assert record.status == word
            assert "enabled: false" in file.read_text()


async def test_settings_itself_stays_on():
    async with running("settings") as app:
        page = await app.open("/settings")
        await page.act("settings.toggle", id="settings", on=False)
        await page.until("Settings stays on")
        assert app.kernel.records["settings"].status == "running"


async def test_a_form_saves_refuses_and_resets(tmp_path: Path):
    example(tmp_path)
    async with running("settings", "example", folders=[tmp_path], data=tmp_path) as app:
        page = await app.open("/settings")
        await page.act("settings.configure", id="example", speed="1.5")
        assert "speed: 1.5" in (tmp_path / "settings.yaml").read_text()
        await page.act("settings.configure", id="example", speed="9")
        await page.until("from 0.5 to 2")
        assert app.kernel.records["example"].handle.settings.speed == 1.5  # type: ignore[union-attr]
        await page.act("settings.reset", id="example", field="speed")
        assert app.kernel.records["example"].handle.settings.speed == 1.0  # type: ignore[union-attr]


SHOWN = '{"speed":"1"}'


async def test_a_form_saves_only_what_was_changed_in_it(tmp_path: Path):
    example(tmp_path)
    async with running("settings", "example", folders=[tmp_path], data=tmp_path) as app:
        page = await app.open("/settings")
        drawn = await page.until('name="as_shown" value="[^"]*speed[^"]*"')
        assert unescape(drawn).endswith(f'value="{SHOWN}"')
        file = tmp_path / "settings.yaml"
        file.write_text("extensions:\n  example:\n    speed: 1.5\n")  # meanwhile, elsewhere
        await page.act("settings.configure", id="example", as_shown=SHOWN, speed="1")
        assert "speed: 1.5" in file.read_text()
        await page.act("settings.configure", id="example", as_shown=SHOWN, speed="2")
        assert "speed: 2" in file.read_text()


def test_what_a_form_holds_is_compared_as_text():
    rest = {"on": ["false", "true"], "off": "false", "words": "a\r\nb", "new": "1", "key": ""}
    shown = '{"on":"true","off":"true","words":"a\\nb","key":""}'
    assert Configure(id="x", as_shown=shown, rest=rest).changed() == {"off": "false", "new": "1"}
    assert Configure(id="x", as_shown="nonsense", rest=rest).changed() == rest


async def edited(app: App, tmp_path: Path, text: str) -> None:
    (tmp_path / "settings.yaml").write_text(text)
    await app.kernel.changes.apply(app.kernel.settings.reload())


WITH_BUILDS = """
[worker]
environment = "torch"
title = "All of it"
[worker.variants.cpu]
title = "A part"
[worker.variants.native]
size = "Built elsewhere"
"""


async def test_the_build_of_an_engine_is_chosen_on_its_card(tmp_path: Path):
    example(tmp_path)
    manifest = tmp_path / "example" / "extension.toml"
    manifest.write_text(manifest.read_text("utf-8") + WITH_BUILDS)
    async with running("settings", "example", folders=[tmp_path], data=tmp_path) as app:
        ext, page = app.extension("example"), await app.open("/settings")
        ext.default_variant = "cpu"
        await page.act("settings.use_build", id="example", variant="")
        await page.until(
            '<option value="auto">Automatic: a part</option>'
            '<option value="" selected>All of it</option><option value="cpu">A part</option>'
        )
        assert ext.variant == ""
        await page.act("settings.use_build", id="example", variant="auto")
        await page.until('<option value="auto" selected>Automatic: a part</option>')
        assert not app.kernel.settings.problems
        assert ext.variant == "cpu"
        assert "variant" not in (tmp_path / "settings.yaml").read_text("utf-8")
        await page.act("settings.use_build", id="example", variant="native")
        await page.until("There is no such build of it")
        for mine, shown in (("native", "what suits this machine"), (None, "all of it")):
            ext.default_variant = mine  # One without a title; what the hardware says.
            found = builds(app.kernel, app.kernel.records["example"])
            assert found
            assert found["choices"][0] == ("auto", f"Automatic: {shown}")
        record = app.kernel.records["example"]
        for variant, used, chosen in (
            ("native", "native", "native"),
            ("none-such", "cpu", "auto"),
            ("x/../../state", "cpu", "auto"),
        ):
            ext.default_variant = "cpu"
            await app.kernel.changes.configure("example", {"variant": None})
            await app.kernel.changes.configure("example", {"variant": variant})
            found = builds(app.kernel, record)
            assert found
            assert (ext.variant, found["chosen"]) == (used, chosen)
        assert record.manifest
        with pytest.raises(Refused, match=r"has no variant 'x/\.\./"):
            app.kernel.workers.environment(record.manifest, "x/../../state")


async def test_what_an_editor_changed_shows_on_the_card(tmp_path: Path):
    example(tmp_path)
    async with running("settings", "example", folders=[tmp_path], data=tmp_path) as app:
        page = await app.open("/settings")
        for text, said in (
            ("speed: 1.25", r'value="1\.25"'),
            ("speed: fast", "Speed must be a number from 0.5 to 2"),
            ("speed: 9", r'<details [^>]*open>\s*<summary class="bad">Settings.* · 1 to correct'),
            ("sped: 1", "There is no setting “sped”; did you mean “speed”"),
            ("[1]", "Below this name belongs a list of settings"),
        ):
            page.html = ""
            await edited(app, tmp_path, f"extensions:\n  example:\n    {text}\n")
            await page.until(f'id="settings-example"((?!</li>).)*{said}')
        page.html = ""
        await edited(app, tmp_path, "extensions:\n  example:\n    speed: 1\n")
        card = await page.until('id="settings-example".*?</li>')
        assert "must be" not in card
        assert 'class="why"' not in card
        assert "to correct" not in card


async def test_what_is_wrong_with_the_whole_file_shows_above_the_cards(tmp_path: Path):
    example(tmp_path)
    async with running("settings", "example", folders=[tmp_path], data=tmp_path) as app:
        page = await app.open("/settings")
        await page.until('id="settings-problems"')
        for text, said in (
            ("appearence:\n  theme: dark\n", "There is no section “appearence”; did you mean"),
            (
                "extensions:\n  exampel: {}\n",
                "There is no extension “exampel”; did you mean “example”",
            ),
            ("appearance:\n  theme: pink\n", "In settings.yaml, appearance.theme: Theme must be"),
            ("appearance: [\n", "Correct it; until then nothing changes"),
        ):
            page.html = ""
            app.kernel.theme  # noqa: B018  the section is known once it was asked for
            await edited(app, tmp_path, text)
            await page.until(f'id="settings-problems" hx-swap-oob[^>]*>((?!</div>).)*{said}')
            if "pink" in text:
                await page.until(
                    'id="settings-appearance"((?!</form>).)*role="alert">Theme must be'
                )
        page.html = ""
        await page.act("settings.configure", id="example", speed="2")
        await page.until('id="settings-example"((?!</li>).)*Correct it')
        for _ in range(3):
            await page.act("settings.toggle", id="example", on=False)
        await page.until('class="toast error"((?!</p>).)*Correct it')
        page.html = ""
        await edited(app, tmp_path, "")
        assert "why" not in await page.until('id="settings-problems" hx-swap-oob.*?</div>')
        await app.settled()
        assert app.kernel.records["settings"].status == "running"
        assert app.kernel.trouble == {}


async def test_a_failed_start_is_told_and_tried_again(tmp_path: Path):
    example(tmp_path)
    (tmp_path / "fail").touch()
    async with running("settings", folders=[tmp_path], data=tmp_path) as app:
        page = await app.open("/settings")
        await page.act("settings.toggle", id="example", on=True)
        await page.until("the belt is torn")
        (tmp_path / "fail").unlink()
        await page.act("settings.retry", id="example")
        assert app.kernel.records["example"].status == "running"


async def test_the_order_can_be_changed(tmp_path: Path):
    example(tmp_path)
    async with running("settings", "example", folders=[tmp_path]) as app:
        page = await app.open("/settings")
        await page.act("settings.move", id="example", to=0)
        assert app.kernel.ordered()[0] == "example"
        count = len(app.kernel.ordered())
        await page.until(f"settings-moved[^>]*>Example is 1 of {count}.")
        await page.act("settings.move", id="example", to=-1)  # the button that is pressed once more
        assert app.kernel.ordered()[0] == "example"
        await page.act("settings.move", id="example", to=99)
        assert app.kernel.ordered()[-1] == "example"


async def test_a_switch_moves_nobody(tmp_path: Path):
    """The first one writes a section of the file, in which the order stands, too."""
    example(tmp_path)
    file = tmp_path / "settings.yaml"
    file.write_text("extensions:\n  settings:\n    enabled: true\n  chat:\n    enabled: true\n")
    async with running("settings", "example", folders=[tmp_path], data=tmp_path) as app:
        was = app.kernel.ordered()
        assert was.index("settings") < was.index("chat") < was.index("example")
        page = await app.open("/settings")
        for id, on in (("word_count", True), ("example", False), ("api_kit", False)):
            await page.act("settings.toggle", id=id, on=on)
            await page.until(f'id="settings-{id}-toggle"[^>]*aria-checked="{str(on).lower()}"')
            assert app.kernel.ordered() == was
        whole = '<div id="settings-cards" hx-swap-oob'
        assert whole not in page.html, "the others stay as they are"
        ids = [line.strip(" :") for line in file.read_text().splitlines() if line[:3].strip()]
        assert ids == ["extensions", "api_kit", "settings", "chat", "example", "word_count"]
        await page.act("settings.move", id="example", to=0)
        await page.until(whole)


async def test_a_theme_reaches_every_page():
    async with running("settings") as app:
        page, other = await app.open("/settings"), app.page("/settings/appearance")
        await page.act("settings.appearance", theme="dark")
        await other.until('id="page-theme" hidden data-theme="dark"')
        await page.act("settings.appearance", theme="purple")
        await page.until("must be one of system, light, dark")


@pytest.mark.parametrize("section", ["", "appearance", "access", "about"])
async def test_every_section_can_be_drawn(section: str):
    async with running("settings") as app:
        page = app.page(f"/settings/{section}")
        await app.web.snapshot(page.client)
        await page.until("<h1>")
        assert "could not draw" not in page.html
        assert app.kernel.trouble == {}


async def test_the_address_of_an_api_is_shown_only_while_one_answers(tmp_path: Path):
    example(tmp_path)
    toml = tmp_path / "example" / "extension.toml"
    toml.write_text(toml.read_text() + 'paths = ["/v1/models"]\n')
    async with running("settings", "example", folders=[tmp_path]) as app:
        app.kernel.access = structs.replace(
            app.kernel.access,
            address="http://test/v1",
            elsewhere=("http://192.0.2.7/v1",),
            key="sk-test",
        )
        for on in (True, False):
            await app.kernel.changes.toggle("example", on=on)
            page = app.page("/settings/access")
            await app.web.snapshot(page.client)
            await page.until("sk-test")
            assert ("http://test/v1" in page.html) == on
            assert ("http://192.0.2.7/v1" in page.html) == on


async def test_who_needs_the_key_is_told_as_it_is():
    async with running("settings") as app:
        page = await app.open("/settings/access")
        assert "Programs on this machine need none" in page.html
        app.kernel.access = structs.replace(app.kernel.access, password=True)
        page = await app.open("/settings/access")
        assert "Programs on this machine need none" not in page.html
        assert "those on this machine, too" in page.html


# --- sections of other extensions ----------------------------------------------------------

SECTION = '''"""Brings a section."""
from kernel.api import PANELS, Panel

async def setup(ext):
    async def context(client, subject):
        if (ext.data_root / "fail").exists():
            raise RuntimeError("no shelf")
        return {"subject": subject}

    ext.add(PANELS, Panel("settings", "second.html", order=2, title="Not shown"))
    ext.add(PANELS, Panel("settings", "section.html", context, order=1, title="The <i>shelf</i>"))
'''


def with_section(root: Path, code: str = SECTION) -> None:
    example(root)
    (root / "example" / "__init__.py").write_text(code)
    (root / "example" / "templates").mkdir()
    (root / "example" / "templates" / "section.html").write_text("<h1>Shelf {{ subject }}</h1>")
    (root / "example" / "templates" / "second.html").write_text("<p>And more</p>")


async def test_an_extension_brings_a_section_of_its_own(tmp_path: Path):
    with_section(tmp_path)
    async with running("settings", "example", folders=[tmp_path]) as app:
        page = app.page("/settings/example/top")
        await app.web.snapshot(page.client)
        drawn = await page.until('id="settings-sections".*</section>')
        link = '<a href="/settings/example" aria-current="page">The &lt;i&gt;shelf&lt;/i&gt;</a>'
        assert link in drawn
        assert "<h1>Shelf top</h1><p>And more</p>" in drawn
        assert "Not shown" not in drawn


async def test_a_section_comes_and_goes_with_its_extension_on_open_pages(tmp_path: Path):
    with_section(tmp_path)
    async with running("settings", "example", folders=[tmp_path]) as app:
        page, other = app.page("/settings/example"), app.page("/settings/about")
        for one in (page, other):
            await app.web.snapshot(one.client)
            await one.until("/settings/example")
        for on in (False, True):
            page.html = other.html = ""
            await app.kernel.changes.toggle("example", on=on)
            expected = "<h1>Shelf" if on else "Example has no settings here, or is switched off"
            await page.until(f'id="settings-section" hx-swap-oob="innerMorph">\\s*.*{expected}')
            side = await other.until('id="settings-sections" data-here.*?</nav>')
            assert ("/settings/example" in side) == on
            assert "settings-section" not in other.html.replace("settings-sections", "")
        page.html = ""
        await app.kernel.restart("example")
        await page.until("<h1>Shelf")


async def test_sections_stand_by_their_names_whoever_started_first(tmp_path: Path):
    with_section(tmp_path)
    other = tmp_path / "another"
    other.mkdir()
    manifest = (tmp_path / "example" / "extension.toml").read_text()
    (other / "extension.toml").write_text(manifest.replace("example", "another"))
    (other / "__init__.py").write_text(SECTION.replace("The <i>shelf", "A <i>board"))
    shutil.copytree(tmp_path / "example" / "templates", other / "templates")
    for ids in (("another", "example"), ("example", "another")):
        async with running("settings", folders=[tmp_path]) as app:
            for id in ids:
                await app.kernel.changes.toggle(id, on=True)
            page = app.page("/settings/about")
            await app.web.snapshot(page.client)
            side = await page.until('id="settings-sections".*?</nav>')
            assert side.index("/settings/another") < side.index("/settings/example")


async def test_a_section_that_fails_costs_only_its_own_place(tmp_path: Path):
    with_section(tmp_path)
    (tmp_path / "fail").touch()
    async with running("settings", "example", folders=[tmp_path], data=tmp_path) as app:
        page = app.page("/settings/example")
        await app.web.snapshot(page.client)
        drawn = await page.until('id="settings-sections".*</section>')
        assert "Example could not draw this" in drawn
        assert "<p>And more</p>" in drawn
        assert "/settings/about" in drawn
        page = app.page("/settings/about")
        await app.web.snapshot(page.client)
        assert "could not draw" not in await page.until("<h1>About.*")


async def test_a_section_is_not_drawn_before_its_extension_is_ready(tmp_path: Path):
    slow = SECTION + "    import asyncio\n    await asyncio.sleep(0.05)\n    ext.ready = True\n"
    with_section(tmp_path, slow.replace('return {"', 'assert ext.ready\n        return {"'))
    async with running("settings", folders=[tmp_path]) as app:
        page = app.page("/settings/example")
        await app.web.snapshot(page.client)
        await page.until("Example has no settings here, or is switched off")
        await app.kernel.changes.toggle("example", on=True)
        await page.until("<h1>Shelf")
        assert app.kernel.trouble == {}


async def test_an_unknown_section_says_so():
    async with running("settings") as app:
        page = app.page("/settings/nonsense")
        await app.web.snapshot(page.client)
        await page.until("There is no such section")


async def test_the_panels_of_one_extension_keep_its_order_under_the_name_of_its_first():
    async with running("settings", "conversations") as app:
        page = await app.open("/settings/conversations")
        side = await page.until('id="settings-sections".*?</nav>')
        assert "Conversations</a>" in side
        assert "Backups</a>" not in side
        titles = [">Import<", ">Trash<", ">Backups<"]
        places = [page.html.index(title) for title in titles]
        assert places == sorted(places)
