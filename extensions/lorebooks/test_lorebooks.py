"""What is kept of a choice; tests/test_lore_choices.py has the conversations."""

import asyncio

import pytest

from extensions.conversations.api import STORE
from extensions.lorebooks.chosen import HERE, MOST, Chosen
from kernel.api import Refused
from kernel.testing import running


async def test_a_choice_is_kept_with_its_conversation():
    async with running("lorebooks") as app:
        store = app.extension("lorebooks").one(STORE)
        id = (await store.create()).id
        chosen = Chosen(store)
        assert await chosen.worlds(id) == await chosen.worlds("") == []
        await chosen.choose(id, "Birds", on=True)
        await chosen.choose(id, "Sea", on=True)
        await chosen.choose(id, "Birds", on=True)
        assert await chosen.worlds(id) == ["Sea", "Birds"]
        await asyncio.gather(*(chosen.choose(id, name, on=True) for name in ("Wood", "Hill")))
        assert set(await chosen.worlds(id)) == {"Sea", "Birds", "Wood", "Hill"}
        for name in ("Sea", "Wood", "Hill"):
            await chosen.choose(id, name, on=False)
        assert await chosen.worlds(id) == ["Birds"]
        await store.set_state(id, *HERE, [f"W{n}" for n in range(MOST)])
        with pytest.raises(Refused, match="50 lorebooks at most"):
            await chosen.choose(id, "One more", on=True)
        # Modules that another test imported anew have an error of their own of that name.
        with pytest.raises(Refused, match=r"This conversation (is gone|has been deleted)"):
            await chosen.choose("x" * 8, "Birds", on=True)
        await store.set_state(id, *HERE, {"odd": 1})
        assert await chosen.worlds(id) == []
