"""Styles: chosen on one page, seen on all; files of the user's own; nothing else is served."""

from pathlib import Path

import pytest

from extensions.chat_styles.styles import Styles
from kernel.api import Refused
from kernel.testing import running


@pytest.fixture
def styles(tmp_path: Path) -> Styles:
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for name in ("novel", "bubbles"):
        (shipped / f"{name}.css").write_text(f"/* {name} */")
    (tmp_path / "own").mkdir()
    return Styles(shipped, tmp_path / "own")


def test_plain_comes_first_then_what_comes_along_then_the_users_own(styles: Styles):
    for name in ("mine", "novel"):
        (styles.own / f"{name}.css").write_text("/* mine */")
    assert styles.names() == ["plain", "bubbles", "novel", "mine"]


def test_a_users_file_hides_the_one_of_that_name_and_its_change_shows(styles: Styles):
    before = styles.address("novel")
    (styles.own / "novel.css").write_text("/* mine */")
    assert before != styles.address("novel")
    assert styles._file("novel").parent == styles.own


@pytest.mark.parametrize("name", ["plain", "gone", "../secret", "a/b", "", "link"])
def test_what_is_no_style_has_no_address(styles: Styles, tmp_path: Path, name: str):
    (tmp_path / "secret.css").write_text("secret")
    (styles.own / "link.css").symlink_to(tmp_path / "secret.css")
    assert styles.address(name) == ""
    with pytest.raises(Refused):
        styles._file(name)


async def test_a_choice_reaches_every_page_and_the_file_is_served():
    async with running("chat_styles", "chat") as app:
        one, other = await app.open("/chat"), await app.open("/chat")
        assert "chat_styles-link" not in other.html
        await one.act("chat_styles.choose", style="novel")
        link = await other.until(r"/ext/chat_styles/novel\.css\?v=\d+")
        sheet = await app.fetch(link)
        assert sheet.headers["content-type"].startswith("text/css")
        assert "--chat-font" in sheet.text
        assert (await app.fetch("/ext/chat_styles/secrets.css")).status == 404
        assert (await app.fetch(link, who="nobody")).status in (401, 403)
        await one.act("chat_styles.choose", style="nonsense")
        await one.until("There is no style")


@pytest.mark.parametrize(
    "file", sorted((Path(__file__).parent / "styles").glob("*.css")), ids=lambda f: f.stem
)
def test_the_users_name_looks_like_that_of_who_answers(file: Path):
    rules = file.read_text("utf-8").splitlines()
    names = [rule for rule in rules if ".chat-reply > h2" in rule and ".chat-face" not in rule]
    assert all(".chat-me" in rule for rule in names)


async def test_a_style_of_another_name_in_the_file_or_on_the_card_is_told():
    async with running("chat_styles", "chat", "settings") as app:
        page = await app.open("/settings/chat_styles")
        await app.kernel.changes.configure("chat_styles", {"style": "nvoel"})
        await page.until("toast error.*There is no style “nvoel”: conversations look plain")
