"""A character whose file is renamed: its conversations go on with it."""

from pathlib import Path

from extensions.characters.renames import Renames
from extensions.chat.api import SETUPS
from kernel.testing import Scripted, running


def test_an_old_name_leads_to_nobody_who_only_came_after(tmp_path: Path):
    """Ada became Bea, who went; Bea is Bo now."""
    renames = Renames(tmp_path / "renamed.json")
    renames.keep("Ada", "Bea")
    assert renames.new("Ada") == "Bea"
    renames.keep("Bo", "Bea")
    assert (renames.new("Ada"), renames.new("Bo")) == ("", "Bea")


async def test_conversations_follow_a_character_whose_file_is_renamed():
    async with running("chat", "roleplay", model=Scripted("Hi.")) as app:
        folder = app.kernel.characters
        folder.mkdir(exist_ok=True)
        for name in ("Ada", "Bo"):
            (folder / f"{name}.yaml").write_text(f"name: {name}\nfirst_mes: Good evening.\n")
        page = await app.open("/chat")
        [setups] = app.kernel.registry.values(SETUPS)
        ids: list[str] = []
        for character in ("Ada", "Ada", "Bo"):
            await page.act("chat.start", character=character)
            await page.act("chat.begin", conversation=page.client.subject)
            ids.append(page.client.subject)
        await page.act("chat.start", character="Ada")
        await page.act("chat.incognito")
        ids.append(page.client.subject)
        await page.act("chat.delete", conversation=ids[1])

        async def characters() -> list[str]:
            return [(await setups.of(id)).options.character for id in (*ids, "")]

        assert await characters() == ["Ada", "Ada", "Bo", "Ada", "Ada"]
        await page.act("characters.rename", id="Ada", to="Countess")
        await app.until(lambda: setups._last.options.character == "Countess")
        assert await characters() == ["Countess", "Countess", "Bo", "Countess", "Countess"]
        await page.act("characters.rename", id="Countess", to="Ada")
        await app.until(lambda: setups._last.options.character == "Ada")
        assert await characters() == ["Ada", "Ada", "Bo", "Ada", "Ada"]


async def test_they_follow_it_though_their_mode_was_switched_off_meanwhile():
    async with running("chat", "roleplay", model=Scripted("Hi.")) as app:
        folder = app.kernel.characters
        folder.mkdir(exist_ok=True)
        (folder / "Ada.yaml").write_text("name: Ada\nfirst_mes: Good evening.\n")
        page = await app.open("/chat")
        [setups] = app.kernel.registry.values(SETUPS)
        await page.act("chat.start", character="Ada")
        await page.act("chat.begin", conversation=page.client.subject)
        id = page.client.subject
        await app.toggle("roleplay", on=False)
        await page.act("characters.rename", id="Ada", to="Countess")
        await page.act("characters.rename", id="Countess", to="Duchess")
        await app.toggle("roleplay", on=True)
        await page.act("chat.send", conversation=id, text="Hello?")
        await app.until(lambda: setups._last.options.character == "Duchess")
        assert (await setups.of(id)).options.character == "Duchess"
        await page.until("Hi\\.")
