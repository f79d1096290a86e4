"""Several characters in one conversation."""

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import structs

from extensions.characters.api import CHARACTERS, Renamed
from extensions.chat.api import SETUPS, SPEAKERS, TALK
from extensions.conversations.api import STORE
from extensions.prompts.api import CastChanged
from kernel.api import MODES, PANELS, Action, Client, Extension, Meta, Panel, Refused

from .group import Group, Order
from .groups import Groups
from .rounds import Rounds


class InGroup(Action, frozen=True):
    """Base: the group of a conversation is meant."""

    conversation: str


class Add(InGroup, frozen=True):
    """One more character; without a conversation a new one begins."""

    character: str


class OnMember(InGroup, frozen=True):
    """Base: a member is meant."""

    character: str


class Remove(OnMember, frozen=True):
    """Somebody leaves; what was said stays."""


class Mute(OnMember, frozen=True):
    """Somebody does not speak, or may again."""

    on: bool


class Move(InGroup, frozen=True):
    """The member `id` goes to the place `to` of the list, from 0."""

    id: str
    to: Annotated[int, Meta(ge=0, le=30)]


class Speak(OnMember, frozen=True):
    """Somebody speaks now, muted or not."""


class Choose(InGroup, frozen=True):
    """Who answers from now on, in manual order."""

    chosen: str


class Turns(InGroup, frozen=True):
    """Who speaks when."""

    order: Order


class GoOn(InGroup, frozen=True):
    """So many replies without the user between them."""

    turns: Annotated[int, Meta(ge=1, le=50)] = 4


async def setup(ext: Extension[Any]) -> None:
    setups, talk, library = ext.one(SETUPS), ext.one(TALK), ext.one(CHARACTERS)
    groups = Groups(ext.one(STORE), setups, library)
    rounds = Rounds(ext, talk)

    async def change(conversation: str, how: Callable[[Group], Group]) -> None:
        """Keep a changed group, and show it on every page of its conversation."""
        await groups.change(conversation, how)
        await talk.recast(conversation)

    @ext.on(Add)
    async def add(action: Add, client: Client) -> None:
        """Whoever is spoken to alone until now is the first member."""
        if not action.character:
            return
        await library.get(action.character)
        conversation = action.conversation or await talk.empty(client)
        alone = (await setups.of(conversation)).options.character

        def joined(group: Group) -> Group:
            if not group.members and alone and alone != action.character:
                group = group.with_(alone)
            return group.with_(action.character)

        await change(conversation, joined)

    def on_member(kind: type[InGroup], how: Callable[[Group, Any], Group]) -> None:
        @ext.on(kind)
        async def changed(action: Any, client: Client) -> None:
            await change(action.conversation, lambda group: how(group, action))

    on_member(Remove, lambda group, a: group.without(a.character))
    on_member(Mute, lambda group, a: group.muted(a.character, a.on))
    on_member(Move, lambda group, a: group.moved(a.id, a.to))
    on_member(Choose, lambda group, a: structs.replace(group, chosen=a.chosen))

    @ext.on(Renamed)
    async def renamed(event: Renamed) -> None:
        await groups.rename(event.old, event.new)
        ext.emit(CastChanged())

    @ext.on(Turns)
    async def turns(action: Turns, client: Client) -> None:
        await change(action.conversation, lambda g: structs.replace(g, order=action.order))

    @ext.on(Speak)
    async def speak(action: Speak, client: Client) -> None:
        rounds.begin(client, action.conversation, 1, action.character)

    @ext.on(GoOn)
    async def go_on(action: GoOn, client: Client) -> None:
        if not (await groups.of(action.conversation)).here:
            raise Refused("There is no group in this conversation. Add characters to it first.")
        rounds.begin(client, action.conversation, action.turns)

    async def panel(client: Client | None, subject: str) -> dict[str, Any]:
        """The context of group.html."""
        mode = (await setups.of(subject)).mode
        wants = [m.id for m in ext.get(MODES) if "character" in getattr(m, "wants", ())]
        return {**await groups.shown(subject), "conversation": subject, "able": mode in wants}

    ext.add(SPEAKERS, groups)
    ext.add(PANELS, Panel("composer", "group.html", panel, order=-5))
    ext.emit(CastChanged())
