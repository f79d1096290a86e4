"""The two YAML forms of instruction templates, as Jinja.

One holds the Jinja itself under `instruction_template`; the older one has `user`, `bot`,
`turn_template`, `context` and `system_message`, with placeholders such as `<|user-message|>`.
"""

from typing import Any, cast

from kernel.api import Malformed, Refused, read_yaml

OLD = ("user", "bot", "turn_template", "context", "system_message")
TURNS = """\
{%- set ns = namespace(system={SYSTEM}) -%}
{%- for message in messages if message['role'] == 'system' -%}
    {%- set ns.system = message['content'] -%}
{%- endfor -%}
{{- {BEFORE} + ns.system + {AFTER} -}}
{%- for message in messages -%}
    {%- if message['role'] == 'user' -%}
        {{- {USER} + message['content'] + {USER_END} -}}
    {%- elif message['role'] == 'assistant' -%}
        {{- {BOT} + message['content'] + {BOT_END} -}}
    {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- {PROMPT} -}}
{%- endif -%}
"""


def as_jinja(text: str, name: str) -> str:
    """The Jinja of a template's YAML file; raises Refused if it is none."""
    try:
        read: Any = read_yaml(text)
    except Malformed as error:
        raise Refused(f"{name} is no YAML ({error}). Correct it.") from None
    if not isinstance(read, dict):
        raise Refused(f"{name} holds no instruction template. Choose another file.")
    said = {str(k): str(v) for k, v in cast(dict[Any, Any], read).items() if v is not None}
    if source := said.get("instruction_template"):
        return source
    if "turn_template" not in said:
        raise Refused(
            f"{name} has neither instruction_template nor turn_template. Choose another file."
        )
    return of_turns(**{key: said.get(key, "") for key in OLD})


def of_turns(user: str, bot: str, turn_template: str, context: str, system_message: str) -> str:
    """The older form as Jinja."""
    to_user, _, rest = turn_template.partition("<|user-message|>")
    between, _, bot_end = rest.partition("<|bot-message|>")
    user_end, found, to_bot = between.partition("<|bot|>")
    if not found:  # The bot has no name: all between belongs to the bot's turn.
        user_end, to_bot = "", between
    begin_bot = (bot if found else "") + to_bot
    before, _, after = context.partition("<|system-message|>")
    pieces = {
        "SYSTEM": system_message,
        "BEFORE": before,
        "AFTER": after,
        "USER": to_user.replace("<|user|>", user),
        "USER_END": user_end,
        "BOT": begin_bot,
        "BOT_END": bot_end,
        "PROMPT": begin_bot.rstrip(" "),
    }
    source = TURNS
    for name, piece in pieces.items():  # ascii: a literal that Jinja reads as Python does.
        source = source.replace(f"{{{name}}}", ascii(piece), 1)
    return source
