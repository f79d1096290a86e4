"""A settings struct as form fields, and in words: everything comes from its annotations."""

from typing import Any, Literal, cast, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, UNSET, inspect
from msgspec.structs import FieldInfo

from kernel.sampling import Struct

Kind = Literal["switch", "number", "range", "text", "choice", "list", "secret", "area"]


class Secret:
    """A text that is never shown, logged or written to `settings.yaml`; false while empty."""

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self._text == other._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __repr__(self) -> str:
        return "Secret(…)" if self._text else "Secret()"


class Field(Struct, frozen=True):
    """One row of a form; `value` and `default` are as the page shows them (see `as_text`)."""

    name: str
    label: str
    help: str
    kind: Kind
    value: str | bool
    default: str | bool
    changed: bool
    wants: str
    """What it takes, in words: "a number from 0.5 to 2"."""
    choices: tuple[tuple[str, str], ...] = ()
    """Value and label of each."""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    group: str = ""
    """What it is folded away below, until somebody opens that; empty: it stands there at once."""


def fields(kind: type[msgspec.Struct], now: msgspec.Struct | None = None) -> list[Field]:
    """The rows of a form for `kind`, filled with the values of `now`."""
    infos = msgspec.structs.fields(kind)
    return [describe(info, getattr(now, info.name) if now else UNSET) for info in infos]


def describe(info: FieldInfo, value: Any = UNSET) -> Field:
    """One field. `Meta(title=)` is its label, `description=` its help; of `extra=`, `step` is a
    number's, `area` is for lines of text, `wants` words a `pattern`, `group` folds it away."""
    default: Any = default_of(info)
    default = UNSET if default is NODEFAULT else default
    value = default if value is UNSET else value
    of, words, extra = _bare(inspect.type_info(info.type))
    if isinstance(of, inspect.LiteralType):  # msgspec has put its values into another order.
        written = _written(info.type)
        of = inspect.LiteralType(written) if {*written} == {*of.values} else of
    kind, wants = _kind(of, extra)
    choices = tuple((as_text(c), as_text(c)) for c in _choices(of))
    if kind == "switch" and not isinstance(default, bool):
        kind, choices = "choice", (("true", "On"), ("false", "Off"))
    if kind == "choice" and default in (UNSET, None):
        choices = (("", "Default"), *choices)
    low, high, step = _bounds(of, extra)
    slides = low is not None and high is not None and (high - low) / (step or 1) <= 500
    if kind == "number" and slides and all(isinstance(n, int | float) for n in (default, value)):
        kind = "range"
        if step and low is not None and abs((value - low) / step % 1 - 0.5) < 0.499999:
            step = None  # else a browser would round it
    label = words.get("title") or info.name.replace("_", " ").capitalize()
    show: Any = bool if kind == "switch" else as_text
    shown, plain, changed = show(value), show(default), value != default
    if kind == "text" and "\n" in f"{shown}{plain}":
        kind = "area"  # One line of a form would lose it.
    help, group = words.get("description", ""), extra.get("group", "")
    return Field(
        info.name, label, help, kind, shown, plain, changed, wants, choices, low, high, step, group
    )


def default_of(info: FieldInfo) -> Any:
    """A field's default, or NODEFAULT."""
    return info.default if info.default_factory is NODEFAULT else info.default_factory()


def as_text(value: Any) -> str:
    """A value as a form holds it: a list one item a line, a mapping `key: value` a line."""
    if value is UNSET or value is None or isinstance(value, Secret):
        return ""
    value = msgspec.to_builtins(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "\n".join(f"{k}: {as_text(v)}" for k, v in cast(dict[Any, Any], value).items())
    if isinstance(value, list | tuple):
        return "\n".join(map(as_text, cast(list[Any], value)))
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def _bare(of: inspect.Type) -> tuple[inspect.Type, dict[str, Any], dict[str, Any]]:
    """A type without its wrappings, the words that describe it, and the author's extras."""
    words: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    while isinstance(of, inspect.Metadata | inspect.UnionType):
        if isinstance(of, inspect.UnionType):
            of = next(one for one in of.types if not isinstance(one, inspect.NoneType))
        else:
            meta: Any = of
            words, extra = words | (meta.extra_json_schema or {}), extra | (meta.extra or {})
            of = of.type
    return of, words, extra


def _kind(of: inspect.Type, extra: dict[str, Any]) -> tuple[Kind, str]:
    match of:
        case inspect.BoolType():
            return "switch", "yes or no"
        case inspect.IntType():
            return "number", "a whole number" + _span(of)
        case inspect.FloatType():
            return "number", "a number" + _span(of)
        case inspect.LiteralType() | inspect.EnumType():
            return "choice", "one of " + ", ".join(map(as_text, _choices(of)))
        case inspect.StrType(max_length=most):
            wants = f"text of at most {most} characters" if most else "text"
            return "area" if extra.get("area") else "text", extra.get("wants", wants)
        case inspect.ListType() | inspect.VarTupleType() | inspect.SetType():
            each, _, extra = _bare(of.item_type)
            return "list", f"a list, each {_kind(each, extra)[1]}"
        case inspect.DictType():
            return "list", "lines of “name: value”"
        case inspect.CustomType(cls=cls) if cls is Secret:
            return "secret", "text"
        case _:
            return "text", "something else"


def _written(kind: Any) -> tuple[Any, ...]:
    """The values of the Literal in a type, in the author's order."""
    inside: tuple[Any, ...] = get_args(kind)
    if get_origin(kind) is Literal:
        return tuple(value for value in inside if value is not None)
    return next((found for each in inside if (found := _written(each))), ())


def _choices(of: inspect.Type) -> tuple[Any, ...]:
    if isinstance(of, inspect.EnumType):
        return tuple(of.cls)
    return tuple(of.values) if isinstance(of, inspect.LiteralType) else ()


def _span(of: inspect.IntType | inspect.FloatType) -> str:
    if of.ge is not None and of.le is not None:
        return f" from {_spoken(of.ge)} to {_spoken(of.le)}"
    rules = {"of at least": of.ge, "above": of.gt, "of at most": of.le, "below": of.lt}
    said = [f"{word} {_spoken(bound)}" for word, bound in rules.items() if bound is not None]
    return " " + " and ".join(said) if said else ""


def _spoken(bound: float) -> str:
    return f"{bound:,}".removesuffix(".0")


def _bounds(
    of: inspect.Type, extra: dict[str, Any]
) -> tuple[float | None, float | None, float | None]:
    """Lowest, highest and step, as far as a form can tell them to a browser."""
    if not isinstance(of, inspect.IntType | inspect.FloatType):
        return None, None, None
    apart = 1 if isinstance(of, inspect.IntType) else 0
    low = of.ge if of.ge is not None or of.gt is None else of.gt + apart
    high = of.le if of.le is not None or of.lt is None else of.lt - apart
    step = extra.get("step") or of.multiple_of or apart
    if not step and low is not None and high is not None:
        step = 0.01 if high - low <= 5 else 0.1 if high - low <= 50 else 1
    return low, high, step or None
