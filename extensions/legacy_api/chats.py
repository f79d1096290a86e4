"""A conversation as old programs keep it: rows of what was said and answered."""

import html
from collections.abc import Mapping
from typing import Any

from extensions.api_kit.api import Asked, Wish, refused
from kernel.api import Message, Role, Text

from .fields import Chat, History, Rest, Rows, chosen

GREETING = "<|BEGIN-VISIBLE-CHAT|>"
"""Stands where nobody said anything before the character's greeting."""


class Conversation:
    """The rows before the reply, and what is said now."""

    def __init__(self, body: Chat) -> None:
        history = body.history or History()
        self.internal, self.visible = list(history.internal), list(history.visible)
        self._begun = self._shown = ""
        self._user = self._show = body.user_input
        if body.continue_ or body.regenerate:
            self._take_back(body)
        else:
            self._show = html.escape(body.user_input)

    def history(self, reply: str) -> dict[str, Rows]:
        """All rows, with this as the last answer."""
        last = self._user, self._begun + reply
        shown = self._show, self._shown + html.escape(reply)
        return {"internal": [*self.internal, last], "visible": [*self.visible, shown]}

    def _take_back(self, body: Chat) -> None:
        """The last row is what goes on, or is answered anew."""
        if not self.internal:
            field = "_continue" if body.continue_ else "regenerate"
            says = f"{field}: The history is empty. Send one with an answer in it."
            raise refused(says, field, "invalid_value")
        self._user, begun = self.internal.pop()
        self._show, shown = self.visible.pop() if self.visible else (html.escape(self._user), begun)
        if body.continue_:
            self._begun, self._shown = begun, shown

    async def wish(self, rest: Rest, said: Mapping[str, Any], body: Chat) -> Wish:
        """What is asked of the model; raises Problem."""
        character = chosen(body.character)
        mode = body.mode or "chat"
        if mode != "instruct" and not character:
            mode = "instruct"  # Nobody to speak as: the model's own template knows best.
        name = (body.your_name or body.name1 or "") if mode != "instruct" else ""
        stops = [f"\n{name}:"] if name else []
        stops += ["\n"] if body.stop_at_newline else []
        rows = [*self.internal, (self._user, self._begun)]
        messages = [message for row in rows for message in messages_of(row, name)]
        return Wish(
            messages=tuple(messages),
            mode=mode,
            options=options_of(body, mode, character),
            sampling=await rest.sampling(said, body, *stops),
            continue_=bool(self._begun),
            asked=Asked(grammar=body.grammar_string or ""),
        )


def messages_of(row: tuple[str, str], name: str) -> list[Message]:
    """What was said, and what was answered, where there is something."""
    user, reply = row
    user = "" if user == GREETING else user
    roles: tuple[tuple[Role, str, str], ...] = (("user", user, name), ("assistant", reply, ""))
    return [Message(role, (Text(text),), who) for role, text, who in roles if text]


def options_of(body: Chat, mode: str, character: str) -> dict[str, Any]:
    """What the mode is told."""
    if body.turn_template:
        says = "turn_template: It is of an older form. Name an instruction_template instead."
        raise refused(says, "turn_template", "unsupported_value")
    context = body.context_instruct or body.context if mode == "instruct" else None
    found = {
        "character": character if mode != "instruct" else "",
        "template": chosen(body.instruction_template) if mode != "chat" else "",
        "system_message": context,
        "command": body.command if mode == "chat-instruct" else "",
    }
    return {name: value for name, value in found.items() if value}
