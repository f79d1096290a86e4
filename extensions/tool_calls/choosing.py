"""Which tools a turn offers, and whether one has to be called: `tool_choice` of its options."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from extensions.engine_kit.api import from_schema
from kernel.api import ModelInfo, Refused, Struct, Turn

MINE = "One call of a tool"
"""The title of the schemas that are made here."""
MOST = 64
"""Tools whose parameters a grammar knows; of more it knows the names alone."""
LONGEST = 200_000
"""Letters of all their parameters, and of the whole, likewise: no grammar may be longer."""
ANY = {"type": "object"}
WORDS = ("auto", "none", "required")
UNKNOWN = (
    "tool_choice must be auto, none, required, or name a function as "
    '{"type": "function", "function": {"name": …}}. Correct it.'
)
NO_TOOLS = (
    "tool_choice asks for the call of a tool, and none is offered. Offer one, or leave it out."
)
NOT_OFFERED = "tool_choice names {!r}, which is no tool that is offered. Offer it, or name another."
NO_GRAMMAR = (
    "{} in {} cannot be made to call a tool, for it takes no grammar. Set tool_choice to auto, or "
    "load the model with another loader."
)
TWO = (
    "A reply cannot keep to another form and be the call of a tool. Leave out response_format (or "
    "the grammar), or set tool_choice to auto."
)


class Choice(Struct, frozen=True):
    """`kind` is auto, none, required or named; empty: it is none of those that there are."""

    kind: Literal["auto", "none", "required", "named", ""] = "auto"
    name: str = ""

    @property
    def forced(self) -> bool:
        return self.kind in ("required", "named")


def choice_of(turn: Turn) -> Choice:
    """What the turn's `tool_choice` says."""
    said = turn.options.get("tool_choice") or "auto"
    if said in WORDS:
        return Choice(said)
    function = said.get("function") if isinstance(said, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    return Choice("named", name) if isinstance(name, str) and name else Choice("")


def offered(turn: Turn) -> dict[str, Mapping[str, Any]]:
    """The functions that may be called: the schema of each one's parameters by its name."""
    choice = choice_of(turn)
    if choice.kind == "none":
        return {}
    found: dict[str, Mapping[str, Any]] = {}
    for tool in turn.tools:
        function = tool.get("function")
        if isinstance(function, Mapping) and isinstance(name := function.get("name"), str) and name:
            schema = function.get("parameters")
            found[name] = schema if isinstance(schema, Mapping) else {}
    return found


def refusal(turn: Turn, info: ModelInfo | None, grammar: str = "") -> str:
    """Why the model cannot answer the turn as its `tool_choice` wants it, as a sentence; or "".

    `grammar` is what the reply has to keep to beside that.
    """
    choice, names = choice_of(turn), offered(turn)
    if not choice.kind:
        return UNKNOWN
    if not choice.forced or turn.prompt is not None:
        return ""
    if not names:
        return NO_TOOLS
    if choice.kind == "named" and choice.name not in names:
        return NOT_OFFERED.format(choice.name)
    if info and "grammar" not in info.capabilities:
        return NO_GRAMMAR.format(info.name, info.loader)
    return TWO if grammar and not is_ours(grammar) else ""


def begun(turn: Turn) -> str:
    """The words that the reply goes on with: what follows them is no call without a mark."""
    return turn.begun or str(turn.options.get("start_reply_with", ""))


def is_schema(grammar: str) -> bool:
    """Whether it is a JSON schema."""
    return grammar.lstrip().startswith("{")


def is_ours(grammar: str) -> bool:
    return grammar.startswith(f'{{"title": "{MINE}"')


def grammar_of(turn: Turn) -> str:
    """The JSON schema of the one call that the turn wants; blocking, for it tries each part."""
    choice, names = choice_of(turn), offered(turn)
    if choice.kind == "named":
        names = {choice.name: names[choice.name]}
    try:
        few = len(names) <= MOST and len(text([*names.values()])) <= LONGEST
        whole = text({"title": MINE, **exact(names)}) if few else ""
    except RecursionError:
        whole = ""
    return whole if fits(whole) else text({"title": MINE, **form({"enum": [*names]}, ANY)})


def either(turn: Turn, grammar: str) -> str:
    """The JSON schema of a call of some tool, or of what `grammar`, one itself, wants; `grammar` as
    it is where the two can be none together. Blocking, for it tries that."""
    try:
        call = form({"enum": [*offered(turn)]}, ANY)
        both = text({"anyOf": [call, moved(json.loads(grammar), "#/anyOf/1")]})
    except (ValueError, RecursionError):
        return grammar
    return both if fits(both) else grammar


def exact(names: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One call of one of the functions, with its parameters."""
    if len(names) == 1:
        [(name, schema)] = names.items()
        return one(name, schema, "#")
    all_ = enumerate(names.items())
    return {"anyOf": [one(name, schema, f"#/anyOf/{n}") for n, (name, schema) in all_]}


def one(name: str, schema: Mapping[str, Any], place: str) -> dict[str, Any]:
    """A call of one function; parameters that a grammar cannot hold may be any."""
    if not schema.get("properties") and "additionalProperties" not in schema:
        schema = {**schema, "type": "object", "additionalProperties": False}
    alone = text(form({"const": name}, moved(schema, "#/properties/arguments")))
    parameters = moved(schema, f"{place}/properties/arguments") if fits(alone) else ANY
    return form({"const": name}, parameters)


def form(name: Any, parameters: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": name, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": False,
    }


def moved(schema: Any, place: str) -> Any:
    """A schema that lies elsewhere now, with what it says of places in itself."""
    if isinstance(schema, Mapping):
        return {
            key: place + value[1:]
            if key == "$ref" and isinstance(value, str) and value.startswith("#")
            else moved(value, place)
            for key, value in schema.items()
        }
    return [moved(each, place) for each in schema] if isinstance(schema, list | tuple) else schema


def text(schema: Any) -> str:
    return json.dumps(schema, ensure_ascii=False)


def fits(schema: str) -> bool:
    """Whether a grammar can hold it."""
    try:
        return bool(schema and len(schema) <= LONGEST and from_schema(schema))
    except Refused:
        return False
