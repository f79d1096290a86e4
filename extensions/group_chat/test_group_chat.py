"""Who is in a group, and who speaks next; tests/test_groups.py has the conversations."""

from typing import Any

import pytest

from extensions.group_chat.group import Group, Member, Said, first_mentioned
from kernel.api import Refused

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
    for change in (lambda: here.with_("bo"), lambda: gone.without("ada")):
        with pytest.raises(Refused):
            change()
