"""The sections of Settings, with the extensions that bring them."""

import re

import pytest

from kernel.testing import running

BRING = ("api_docs", "api_keys", "chat_styles", "conversations", "llama_cpp", "prompts", "requests")


async def test_the_address_for_programs_stands_there_while_they_are_answered():
    async with running("settings", "openai_api") as app:
        page = await app.open("/settings/access")
        assert "settings-address" in page.html
    async with running("settings") as app:
        page = await app.open("/settings/access")
        assert "settings-address" not in page.html


@pytest.mark.parametrize("id", [*BRING, "translate", "workshop"])
async def test_every_section_has_one_heading_of_its_own(id: str):
    async with running("settings", id) as app:
        page = await app.open(f"/settings/{id}")
        assert len(re.findall("<h1", page.html)) == 1
