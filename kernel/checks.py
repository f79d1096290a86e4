"""Values from a file or a form, checked field by field: one error never hides another."""

import difflib
import json
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

import msgspec
from msgspec import NODEFAULT, UNSET, Struct, structs

from kernel.forms import Secret, default_of, describe

WORDS = {"on": True, "yes": True, "off": False, "no": False}
NUMBER = re.compile(r"\s*[+-]?(\d+\.?|\d*\.\d+|0?,\d+|\d+,\d\d?)\s*")
"""As people type them: .5 and 0,5 too; 1,000 could be one or a thousand, so it is neither."""
FAILED = "These values cannot be checked, as their extension fails at it ({})."
Checked = tuple[dict[str, Any], dict[str, str]]


class SettingsError(ValueError):
    """Nothing was written; `errors` maps each bad field, or "" for all, to a sentence."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__(" ".join(errors.values()))
        self.errors = dict(errors)


def check(kind: type[Struct], values: Mapping[str, Any], also: Iterable[str] = ()) -> Checked:
    """The good values, converted, and a sentence for each bad field ("": all of them together).

    Takes the values of a file and the texts of a form alike. What a form left empty is the
    default, but a secret left empty is left out: it stays as it is. A struct with a method `modern`
    is asked first what the values are called today, and why some are gone. `also`, and what the
    struct lists as `former` names, may be meant.
    """
    infos = {info.name: info for info in structs.fields(kind)}
    good, bad = dict[str, Any](), dict[str, str]()
    former: Iterable[str] = getattr(kind, "former", ())
    if callable(modern := getattr(kind, "modern", None)):
        try:
            values, bad = cast(Checked, modern(values))
        except Exception as error:  # It is an extension's.
            bad[""] = FAILED.format(type(error).__name__)
    for name, value in values.items():
        if name not in infos:
            bad[name] = unknown(name, [*infos, *also, *former], "setting")
            continue
        field = describe(infos[name])
        if field.kind == "secret" and value == "":
            continue
        try:
            good[name] = _convert(infos[name], field.kind, value)
        except ValueError:
            quoted = not isinstance(value, str) and field.wants.startswith(("text", "one of"))
            bad[name] = f"{field.label} must be {field.wants}{', in quotes' if quoted else ''}."
    given = all(name in good or default_of(i) is not NODEFAULT for name, i in infos.items())
    if not bad and given and hasattr(kind, "__post_init__"):
        try:
            kind(**good)
        except ValueError as error:
            bad[""] = str(error)
        except Exception as error:
            bad[""] = FAILED.format(type(error).__name__)
    return good, bad


def unknown(name: object, names: Iterable[str], what: str) -> str:
    """Say that there is no such thing, and which one may be meant."""
    close = difflib.get_close_matches(str(name), names, 1)
    return f"There is no {what} “{name}”" + (f"; did you mean “{close[0]}”?" if close else ".")


def _convert(info: structs.FieldInfo, kind: str, value: Any) -> Any:
    """One value; raises ValueError when it is none of what the field takes."""
    tries: list[Any] = [value]
    if kind == "list" and isinstance(value, str):
        lines = [line.strip() for line in value.splitlines() if line.strip()]
        pairs = (line.partition(":") for line in lines)
        tries = [lines, {a.strip(): b.strip() for a, _, b in pairs}]
    elif kind == "switch" and isinstance(value, list):  # a checkbox behind its hidden "false"
        tries = cast(list[Any], value)[-1:]
    elif isinstance(value, str):
        tries = [value.replace("\r\n", "\n")]
        if NUMBER.fullmatch(value):
            tries += [value.strip().removeprefix("+"), float(value.replace(",", "."))]
    tries += [WORDS[one.lower()] for one in tries if isinstance(one, str) and one.lower() in WORDS]
    for one in tries if value is not UNSET else ():
        with suppress(msgspec.ValidationError, RecursionError):
            got = msgspec.convert(one, info.type, strict=False, dec_hook=_secret)
            plain = msgspec.to_builtins(got, str_keys=True, enc_hook=Secret.reveal)
            json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()  # NaN, half a surrogate
            return got
    if value in (None, "", UNSET) and (default := default_of(info)) is not NODEFAULT:
        return default
    raise ValueError


def _secret(kind: type[Any], value: Any) -> Any:
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError
