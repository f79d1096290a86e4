"""What a conversation is told beside its messages: the fields of text-generation-webui."""

from collections.abc import Iterable, Sequence
from typing import Any

from extensions.api_kit.api import refused
from extensions.parameters.api import Parameters
from kernel.api import Message, Mode, Refused, Sampling, Text

from .format import Constraint, Str
from .standing import Standing

HOMES = {
    "character": "character", "bot_name": "character", "context": "character",
    "greeting": "character", "persona": "persona", "user_name": "persona", "user_bio": "persona",
    "template": "template", "template_source": "template", "command": "command",
    "chat_template": "chat_template", "start_reply_with": "start_reply_with",
}  # fmt: skip
"""What a mode wants from a page that it knows, where it knows these of a program."""
NAMES = {
    "character": ("character",),
    "bot_name": ("bot_name", "name2"),
    "context": ("context",),
    "greeting": ("greeting",),
    "persona": ("persona",),
    "user_name": ("user_name", "name1"),
    "user_bio": ("user_bio",),
    "template": ("instruction_template",),
    "template_source": ("instruction_template_str",),
    "chat_template": ("chat_template_str",),
    "command": ("chat_instruct_command",),
    "start_reply_with": ("start_reply_with",),
    "system_message": ("custom_system_message",),
}
"""What modes are told of, and the names that programs give it; the first that is given counts."""


class Extras(Constraint, kw_only=True):
    """Fields of a body that are not OpenAI's."""

    mode: Str = None
    character: Str = None
    bot_name: Str = None
    name2: Str = None
    context: Str = None
    greeting: Str = None
    persona: Str = None
    user_name: Str = None
    name1: Str = None
    user_bio: Str = None
    instruction_template: Str = None
    instruction_template_str: Str = None
    chat_template_str: Str = None
    chat_instruct_command: Str = None
    start_reply_with: Str = None
    custom_system_message: Str = None
    preset: Str = None


def told(body: Extras, modes: Iterable[Mode], standing: Standing) -> dict[str, Any]:
    """What the mode is told, `greeting` too; raises Problem for what it has no place for."""
    id, given = body.mode or "instruct", called(body)
    wants = next((getattr(mode, "wants", None) for mode in modes if mode.id == id), None)
    found: dict[str, Any] = {}
    for option, name in given.items():
        if wants is not None and HOMES.get(option, "") not in ("", *wants):
            says = f"{name}: The mode {id} has no place for it. Leave it out, or send another mode."
            raise refused(says, name, "unsupported_parameter")
        found[option] = getattr(body, name)
    return standing.under(found, wants)


def called(body: Extras) -> dict[str, str]:
    """By what modes are told of, the field that tells it."""
    given = (
        (option, [name for name in names if getattr(body, name)]) for option, names in NAMES.items()
    )
    return {option: names[0] for option, names in given if names}


def greeted(messages: Sequence[Message], greeting: str) -> tuple[Message, ...]:
    """The conversation, with its first message of the character where it has none."""
    first = next((n for n, each in enumerate(messages) if each.role != "system"), len(messages))
    spoken = first < len(messages) and messages[first].role == "assistant"
    if not greeting or spoken:
        return (*messages,)
    return (*messages[:first], Message("assistant", (Text(greeting),)), *messages[first:])


async def with_preset(parameters: Parameters, name: Str, sampling: Sampling) -> Sampling:
    """The sampling, a preset over it; raises Problem where there is none of that name."""
    if not name:
        return sampling
    try:
        return await parameters.applied(name, sampling)
    except Refused as error:
        raise refused(f"preset: {error}", "preset", "preset_not_found") from None
