"""Names of text-generation-webui that mean something else here; old_flags.toml has them."""

import difflib
import re
import tomllib
from collections.abc import Iterable, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any


def dashed(argv: Sequence[str]) -> list[str]:
    """Flags that are written with underscores, as older programs have them, with dashes."""
    return [re.sub("^--[^=]+", lambda flag: flag[0].replace("_", "-"), word) for word in argv]


def modern(argv: Sequence[str], known: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """The words with the flags of today, what was left out of them, and why some cannot be."""
    strange = {word.partition("=")[0] for word in argv if word.startswith("--")}.difference(known)
    old = {
        name: entry
        for entry in (table("flags") if strange and "--listen" in known else ())  # no command
        for name in strange.intersection(entry["names"].split())
        if entry.get("now", known[0]).split()[0] in known  # Its extension may not be here.
    }
    words, gone, refused, rest = list[str](), dict[str, list[str]](), list[str](), [*argv]
    while rest:
        flag, given, value = (word := rest.pop(0)).partition("=")
        if not (entry := old.get(flag)):
            words.append(word)
            continue
        count = entry.get("values", 0)
        follow = [] if given else [*takewhile(lambda each: each[:2] != "--", rest[:count])]
        values = [value][:count] if given else follow
        del rest[: len(follow)]
        words += [*entry["now"].split(), *values] if "now" in entry else []
        if "gone" in entry:
            gone.setdefault(entry["gone"], []).append(flag)
        elif "refused" in entry:
            refused.append(f"{flag}: {entry['refused']}")
    left_out = "; ".join(f"{', '.join(flags)} ({why})" for why, flags in gone.items())
    return words, left_out and f"Left out, as it means nothing here: {left_out}.", refused


def no_such(word: str, names: Iterable[str]) -> str:
    """That there is no such flag or command, and which may be meant where that can do no harm."""
    close = {*difflib.get_close_matches(word, names, 1)}.difference(table("never_suggested"))
    hint = f"Did you mean {close.pop()}?" if close else "See --help."
    return f"There is no {'flag' if word[:1] == '-' else 'command'} {word}. {hint}"


def table(name: str) -> Any:
    """A part of old_flags.toml, which nothing needs where every name is known."""
    return tomllib.loads(Path(__file__).with_name("old_flags.toml").read_text("utf-8"))[name]
