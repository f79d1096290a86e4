"""Who is in a group, and who speaks next; tests/test_groups.py has the conversations."""

import json
from typing import Any

import pytest

from extensions.chat.api import SPEAKERS
from extensions.conversations.api import STORE
from extensions.group_chat.group import Group, Member, Said, first_mentioned
from extensions.group_chat.groups import HERE
from kernel.api import Refused
from kernel.testing import running

NAMES = {"ada": "Ada Quill", "bo": "Bo", "cy": "Cy"}


def group(*ids: str, **fields: Any) -> Group:
    return Group(tuple(Member(id) for id in ids), **fields)


# --- who is next ------------------------------------------------------------------------


def test_one_after_the_other_and_the_muted_are_left_out():
    here = group("ada", "bo", "cy")
    assert here.next(NAMES, []) == "ada"
    assert here.next(NAMES, [Said("Ada Quill", "Hm."), Said("", "Well?")]) == "bo"
    assert here.next(NAMES, [Said("Cy", "Tick.")]) == "ada"
    assert here.next(NAMES, [Said("Somebody", "Hm.")]) == "ada"
    assert here.muted("bo", muted=True).next(NAMES, [Said("Ada Quill", "Hm.")]) == "cy"
    alone = here.muted("bo", muted=True).muted("cy", muted=True)
    assert alone.next(NAMES, [Said("Ada Quill", "Hm.")]) == "ada"
    with pytest.raises(Refused, match="Everybody in this group is muted"):
        alone.muted("ada", muted=True).next(NAMES, [])
    with pytest.raises(Refused, match="The files of all who could speak in this group are gone"):
        alone.next({"bo": "Bo", "cy": "Cy"}, [])


def test_who_is_spoken_to_answers():
    here = group("ada", "bo", "cy", order="mention")
    assert here.next(NAMES, [Said("", "What do you say, bo?")]) == "bo"
    assert here.next(NAMES, [Said("Ada Quill", "I, Quill, ask Cy.")]) == "cy", "not herself"
    assert here.next(NAMES, [Said("Ada Quill", "Nobody knows about bother.")]) == "bo", "in order"
    assert here.muted("cy", muted=True).next(NAMES, [Said("", "Cy?")]) == "ada"
    assert first_mentioned("Bo, ask Ada.", NAMES) == "bo"
    assert first_mentioned("The end", {"x": "The Keeper"}) == ""


def test_whom_the_user_chooses():
    here = group("ada", "bo", order="manual")
    assert here.next(NAMES, [Said("Ada Quill", "Hm.")]) == "ada"
    chosen = group("ada", "bo", order="manual", chosen="bo")
    assert chosen.next(NAMES, [Said("Bo", "Yip.")]) == "bo"
    assert chosen.without("bo").next(NAMES, []) == "ada"


def test_members_come_go_and_change_places():
    here = group("ada", "bo").with_("cy").moved("cy", 0)
    assert here.speaking == ["cy", "ada", "bo"]
    gone = here.without("ada")
    assert gone.speaking == ["cy", "bo"]
    assert [m.id for m in gone.members] == ["cy", "ada", "bo"], "its messages keep its face"
    assert gone.with_("ada").speaking == ["cy", "bo", "ada"]
    muted = here.muted("ada", muted=True)
    assert muted.without("ada").back("ada") == muted
    assert gone.back("dan") == gone
    for change in (lambda: here.with_("bo"), lambda: here.back("bo"), lambda: gone.without("ada")):
        with pytest.raises(Refused):
            change()


async def test_who_is_chosen_and_has_no_file_any_more_is_told():
    async with running("group_chat") as app:
        [groups] = app.kernel.registry.values(SPEAKERS)
        store = app.extension("group_chat").one(STORE)
        id = (await store.create()).id
        kept = {"members": [{"id": "Ada"}], "order": "manual", "chosen": "Ada"}
        await store.set_state(id, *HERE, kept)
        # Modules that another test imported anew have an error of their own of that name.
        with pytest.raises(Exception, match="The file of this character is gone"):
            await groups.speaker(id, [])


async def test_each_group_begins_with_dice_of_its_own():
    async with running("group_chat") as app:
        card = {"name": "Ada", "first_mes": "{{roll:d1000}} {{pick:a,b,c,d,e,f,g,h}}"}
        app.kernel.characters.mkdir(exist_ok=True)
        (app.kernel.characters / "Ada.json").write_text(json.dumps(card))
        [groups] = app.kernel.registry.values(SPEAKERS)
        store = app.extension("group_chat").one(STORE)
        ids = [(await store.create()).id for _ in range(20)]
        for id in ids:
            await store.set_state(id, *HERE, {"members": [{"id": "Ada"}]})
        said = [(await groups.faces(id))[0].greetings[0] for id in ids]
        assert len({*said}) > 10
        assert len({each.partition(" ")[2] for each in said}) > 1, "picks too"
        assert said == [(await groups.faces(id))[0].greetings[0] for id in ids], "as was offered"
