"""What models write as arguments: JSON, words whose type the schema tells, Python, Gemma's own."""

import ast
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from msgspec import Struct

from .reading import Found, NoCall

NAMES = ("name", "tool_name", "tool", "function", "recipient_name")
ARGUMENTS = ("arguments", "parameters", "args", "input")
KEYS = (*NAMES, *ARGUMENTS, "type", "id", "tool_call_id", "index")
"""What the JSON of a call may begin with."""
ADDED = re.compile(r"^functions?\.|:\d+$")
"""What Kimi and others put around a function's name."""
STRINGS = re.compile(r'(<\|"\|>|<escape>)(.*?)\1|("(?:[^"\\]|\\.)*")', re.DOTALL)
KEY = re.compile(r"([{,]\s*)([^\W\d][\w.-]*)(\s*:)")
WORDS = {"True": True, "False": False, "None": None}


class Tools(Struct, frozen=True):
    """The functions that are offered: the JSON schema of each one's parameters by its name."""

    offered: Mapping[str, Mapping[str, Any]]

    def known(self, name: Any) -> str:
        """The function that is meant; raises NoCall where there is none."""
        if not isinstance(name, str):
            raise NoCall
        name = name.strip()
        if name not in self.offered:
            name = ADDED.sub("", name)
        if name not in self.offered:
            raise NoCall
        return name

    def properties(self, name: str) -> dict[str, Any]:
        found = self.offered[name].get("properties")
        return found if isinstance(found, dict) else {}


def refuse(_: str) -> NoReturn:
    raise ValueError("no JSON")


def parsed(text: str) -> Any:
    """JSON, though strings may hold line breaks; raises NoCall."""
    try:
        return json.loads(text, strict=False, parse_constant=refuse)
    except (ValueError, RecursionError):
        raise NoCall from None


def arguments(value: Any) -> dict[str, Any]:
    """Arguments, written as an object, as a string that holds one, or not at all."""
    if isinstance(value, str):
        value = parsed(value) if value.strip() else {}
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise NoCall
    return value


def listed(value: Any, tools: Tools, *, bare: bool = False) -> Iterator[Found]:
    """The calls of JSON: an object or a list of them; where it is `bare` each has arguments."""
    calls = value if isinstance(value, list) else [value]
    if not calls:
        raise NoCall
    yield from [one(each, tools, bare) for each in calls]  # All of them, or none.


def one(value: Any, tools: Tools, bare: bool) -> Found:
    if isinstance(value, dict) and isinstance(inner := value.get("function"), dict):
        value = inner
    if not isinstance(value, dict):
        raise NoCall
    name = next((value[key] for key in NAMES if key in value), None)
    key = next((key for key in ARGUMENTS if key in value), None)
    if bare and key is None:
        raise NoCall
    return call(tools.known(name), arguments(value[key]) if key else {})


def call(name: str, given: dict[str, Any]) -> Found:
    """A call, its arguments as JSON; raises NoCall for what JSON cannot say."""
    try:
        text = json.dumps(given, ensure_ascii=False, allow_nan=False)
        text.encode()
    except UnicodeEncodeError:  # Half a character can only be told by its number.
        text = json.dumps(given)
    except (ValueError, TypeError, RecursionError):
        raise NoCall from None
    return Found(name, text)


def typed(words: str, schema: Any) -> Any:
    """The value of a parameter that was written without quotes."""
    words = words.removeprefix("\n").removesuffix("\n")
    kinds = kinds_of(schema)
    text = words.strip()
    if "string" in kinds:
        return None if text == "null" and "null" in kinds else words
    try:
        return parsed(text)
    except NoCall:
        return WORDS.get(text, words)


def kinds_of(schema: Any, deepest: int = 5) -> set[str]:
    """The types that a schema allows; empty: it does not say."""
    if not isinstance(schema, dict) or not deepest:
        return set()
    kind = schema.get("type")
    kinds = (
        {kind} if isinstance(kind, str) else {*map(str, kind)} if isinstance(kind, list) else set()
    )
    if isinstance(choices := schema.get("enum"), list):
        kinds |= {"string"} if any(isinstance(each, str) for each in choices) else set()
    for word in ("anyOf", "oneOf", "allOf"):
        for each in choices if isinstance(choices := schema.get(word), list) else ():
            kinds |= kinds_of(each, deepest - 1)
    return kinds


def python(text: str, tools: Tools) -> list[Found]:
    """The calls of a Python expression: `f(a=1)`, or a list of such; raises NoCall."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # For an escape that is none.
            tree = ast.parse(text.strip(), mode="eval").body
        calls = tree.elts if isinstance(tree, ast.List) else [tree]
        found = [_called(each, tools) for each in calls]
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError):
        raise NoCall from None
    if not found:
        raise NoCall
    return found


def _called(said: ast.expr, tools: Tools) -> Found:
    if not isinstance(said, ast.Call):
        raise NoCall
    name = tools.known(ast.unparse(said.func).removesuffix(".call"))
    places = [*tools.properties(name)]
    if len(said.args) > len(places) or any(each.arg is None for each in said.keywords):
        raise NoCall
    given = dict(zip(places, map(ast.literal_eval, said.args), strict=False))
    given |= {str(each.arg): ast.literal_eval(each.value) for each in said.keywords}
    return call(name, given)


def gemma(text: str) -> dict[str, Any]:
    """Gemma's objects, whose keys stand without quotes and whose strings between tokens."""
    pieces, at = [], 0
    for found in STRINGS.finditer(text):
        pieces += [KEY.sub(r'\1"\2"\3', text[at : found.start()])]
        pieces += [found[3] or json.dumps(found[2])]
        at = found.end()
    return arguments(parsed("".join([*pieces, KEY.sub(r'\1"\2"\3', text[at:])])))
