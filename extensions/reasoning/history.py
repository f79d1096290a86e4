"""What a model sees of its earlier thoughts: nothing, or all where that is wanted."""

from msgspec import structs

from kernel.api import Message, Part, Past, Reasoning, Text

from .splitting import split

NAMES = ("reasoning_content", "thinking")
"""Names by which templates read what was thought; others get it in the text, as it was written."""


def remembered(past: Past, preserve: bool, template: str) -> Past:
    """The past without thoughts, or with them; a reply that is continued stays as it is."""
    preserve = bool(past.turn.options.get("preserve_thinking", preserve))
    if preserve and not any(name in template for name in NAMES):
        return past
    end = len(past.messages) - past.turn.continue_
    messages = [apart(message, preserve) for message in past.messages[:end]]
    if all(new is old for new, old in zip(messages, past.messages, strict=False)):
        return past
    return structs.replace(past, messages=(*messages, *past.messages[end:]))


def apart(message: Message, preserve: bool) -> Message:
    """A reply, its thoughts as parts of their own or left out."""
    if message.role != "assistant":
        return message
    parts: list[Part] = []
    for part in message.parts:
        if isinstance(part, Text):
            for kind, words in split(part.text):
                parts.append(Text(words) if kind == "text" else Reasoning(words))
        else:
            parts.append(part)
    kept = tuple(part for part in parts if preserve or not isinstance(part, Reasoning))
    return message if kept == message.parts else structs.replace(message, parts=kept)
