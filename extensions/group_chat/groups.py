"""The groups of all conversations: kept with each, and told to the chat."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from msgspec import structs

from extensions.characters.api import Character, Company, Library
from extensions.chat.api import Setups, Speaker
from extensions.conversations.api import Store, StoredMessage, Unknown
from extensions.prompts.api import Face
from kernel.api import Refused

from .group import Group, Said

HERE = ("group_chat", "group")
"""Where a group is kept with its conversation."""
LOST = (
    "The file of this character is gone. Bring it back in Characters, or take the character out of"
    " the group."
)


NOBODY = (
    "Nobody in this group is called “{}” any more. Let somebody speak with the button Group, or"
    " write a message."
)


class Groups:
    """What is contributed to SPEAKERS."""

    button = "group_chat-open"

    def __init__(self, store: Store, setups: Setups, library: Library) -> None:
        self._store, self._setups, self._library = store, setups, library

    async def of(self, conversation: str) -> Group:
        """The group of a conversation; empty where there is none."""
        return _group(await self._store.state(conversation, *HERE) if conversation else None)

    async def change(self, conversation: str, how: Callable[[Group], Group]) -> None:
        """Keep a changed group; raises Refused where the conversation is gone, and what `how`
        raises."""

        def change(kept: Any) -> Any:
            return msgspec.to_builtins(how(_group(kept)))

        try:
            await self._store.change_state(conversation, *HERE, change)
        except Unknown:
            raise Refused("This conversation is gone. Begin another one.") from None

    async def rename(self, old: str, new: str) -> None:
        """Groups go on with a character whose file has another name."""

        def change(kept: Any) -> Any:
            try:
                group = msgspec.convert(kept, Group)
            except msgspec.ValidationError:
                return None
            renamed = group.renamed(old, new)
            return msgspec.to_builtins(renamed) if renamed != group else None

        await self._store.change_states(*HERE, change)

    async def characters(self, group: Group, *, gone: bool = False) -> dict[str, Character]:
        """The members whose files can be read, by their ids; those who left too with `gone`."""
        found: dict[str, Character] = {}
        for member in group.members if gone else group.here:
            try:
                found[member.id] = await self._library.get(member.id)
            except Refused:  # The list of members says that its file is gone.
                continue
        return found

    # --- for the chat ------------------------------------------------------------------

    async def speaker(
        self, conversation: str, said: Sequence[StoredMessage], name: str = "", id: str = ""
    ) -> Speaker | None:
        """Who speaks after what was said: `id`, or who is called `name`; else who is next."""
        group = await self.of(conversation)
        if not group.here:
            return None
        known = await self.characters(group, gone=True)
        members = [member.id for member in group.here]
        here = [each for each in members if each in known]
        names = {each: known[each].char for each in here}
        remembering = group.named(names)
        if remembering != group:
            await self.change(conversation, lambda kept: kept.named(names))
        ids = {**remembering.spoken, **{known[each].char: each for each in reversed(known)}}
        if id and id not in members:
            raise Refused("This character is not in the group any more. Choose somebody else.")
        if name and not id and name not in ids:
            raise Refused(NOBODY.format(name))

        def now(spoke: str) -> str:
            """What who spoke under a name is called now."""
            return names.get(ids.get(spoke, ""), spoke)

        told = [Said(now(m.name) if m.role == "assistant" else "", m.text) for m in said]
        chosen = id or ids.get(name) or group.next(names, told)
        if chosen not in known:
            raise Refused(LOST)
        others = tuple(each for each in here if each != chosen)
        muted = tuple(member.id for member in group.here if member.muted)
        return Speaker(known[chosen].char, chosen, others, tuple(here), muted)

    async def faces(self, conversation: str) -> Sequence[Face]:
        """Everybody who may have said something; who begins the conversation comes first."""
        group = await self.of(conversation)
        known = await self.characters(group, gone=True)
        faces = [Face(c.id, c.char, c.picture) for c in known.values()]
        first = next((member.id for member in group.here if member.id in known), "")
        if not first:
            return ()
        persona = (await self._setups.of(conversation)).options.persona
        greetings = known[first].group_greetings or known[first].greetings
        here = [member for member in group.here if member.id in known]
        company = Company(
            tuple(known[member.id].char for member in here),
            tuple(known[member.id].char for member in here if member.muted),
        )
        greeting = structs.replace(known[first], greetings=greetings)
        scene = await self._library.scene(
            greeting, persona, seed=conversation, conversation=conversation, company=company
        )
        begins = Face(first, known[first].char, known[first].picture, scene.greetings)
        return (begins, *(face for face in faces if face.id != first))

    async def shown(self, conversation: str) -> dict[str, Any]:
        """What the sheet shows of a group, and who could join it."""
        group = await self.of(conversation)
        known = await self.characters(group)
        members = [
            {
                "id": member.id,
                "name": known[member.id].char if member.id in known else member.id,
                "picture": known[member.id].picture if member.id in known else "",
                "lost": member.id not in known,
                "muted": member.muted,
                "chosen": member.id == (group.chosen or (group.speaking or [""])[0]),
            }
            for member in group.here
        ]
        everybody = await self._library.all()
        here = {member.id for member in group.here}
        return {
            "members": members,
            "order": group.order,
            "others": [(c.id, c.char) for c in everybody if c.id not in here],
        }


def _group(kept: Any) -> Group:
    try:
        return msgspec.convert(kept or {}, Group)
    except msgspec.ValidationError:
        return Group()
