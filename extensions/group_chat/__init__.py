"""Several characters in one conversation."""

import itertools
from collections.abc import Callable
from typing import Any

from msgspec import structs

from extensions.characters.api import CHARACTERS, Renamed
from extensions.chat.api import SETUPS, SPEAKERS, TALK
from extensions.conversations.api import STORE
from extensions.prompts.api import CastChanged
from kernel.api import MODES, PANELS, Client, Extension, Panel, Refused

from .actions import Add, BringBack, Choose, GoOn, InGroup, Move, Mute, Remove, Speak, Turns
from .group import Group
from .groups import Groups
from .rounds import Rounds


async def setup(ext: Extension[Any]) -> None:
    setups, talk, library = ext.one(SETUPS), ext.one(TALK), ext.one(CHARACTERS)
    groups = Groups(ext.one(STORE), setups, library)
    rounds, notices = Rounds(ext, talk), itertools.count()

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

    on_member(BringBack, lambda group, a: group.back(a.character))
    on_member(Mute, lambda group, a: group.muted(a.character, a.on))
    on_member(Move, lambda group, a: group.moved(a.id, a.to))
    on_member(Choose, lambda group, a: structs.replace(group, chosen=a.chosen))

    @ext.on(Remove)
    async def remove(action: Remove, client: Client) -> None:
        id = action.character
        await change(action.conversation, lambda group: group.without(id))
        known = await groups.characters(await groups.of(action.conversation), gone=True)
        vals = {"action": "group_chat.bring_back", "conversation": action.conversation}
        button = {"label": "Undo", "vals": {**vals, "character": id}}
        text = f"{known[id].char if id in known else id} has left the group."
        notice = f"group_chat-{next(notices)}"
        html = ext.render("_undo.html", id=notice, text=text, kind="note", button=button)
        ext.push_html(html, client)

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
