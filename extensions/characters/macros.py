"""The macros of cards: `{{user}}`, `{{random:a,b}}`, `{{roll:2d6}}`, and the old `<USER>` forms."""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Final

from kernel.api import Refused

from .records import LONGEST

MOST = 10_000
"""Macros in one text."""
DEEPEST = 20
"""Macros inside of one another."""
TOGETHER = 4 * LONGEST
"""Characters by which all texts of one moment may grow together."""
_OLD = "user|bot|char|group|charifnotgroup"
_TOKEN = re.compile(rf"\{{\{{|\}}\}}|<\|?(?:{_OLD})\|?>", re.IGNORECASE)
_DICE = re.compile(r"\s*(\d{0,3})\s*d?\s*(\d{1,6})\s*([+-]\s*\d{1,6})?\s*", re.IGNORECASE)
_OFFSET = re.compile(r"time_utc([+-]\d{1,2})")
OLD: Final = {"bot": "char"}
"""What old forms call otherwise than macros."""


class _Trim:
    """Stands where white space around goes."""


TRIM: Final = _Trim()


class Macros:
    """Expands texts about one user and one character at one moment.

    `seed` decides what `random` and `roll` say, so that the same seed gives the same text; `pick`
    depends on `place` (a conversation) alone, and stays what it is there. `values` are texts by
    name, put in as they are.
    """

    def __init__(
        self,
        user: str = "You",
        char: str = "",
        *,
        seed: int | str = 0,
        place: str = "",
        values: Mapping[str, str] | None = None,
        now: datetime | None = None,
        idle: timedelta | None = None,
    ) -> None:
        self.user, self.char, self.place = user, char, place
        alone = {"group": char, "groupnotmuted": char, "charifnotgroup": char, "notchar": user}
        self.values = {"user": user, "char": char, "bot": char, **alone, **(values or {})}
        self._dice, self._now, self._idle = random.Random(f"dice {seed}"), now, idle
        self._picked = self._grown = 0

    def say(self, values: Mapping[str, str]) -> None:
        """Put in more texts by these names, as they are."""
        self.values |= values

    def names(self, text: str) -> str:
        """Only the names of the two, as in what was said."""
        return self._expand(text, {"user": self.user, "char": self.char, "bot": self.char}, False)

    def expand(self, text: str, **values: str) -> str:
        """All macros of a text; what is none of ours stays as it is."""
        return self._expand(text, {**self.values, **values}, True)

    def _expand(self, text: str, values: Mapping[str, str], every: bool) -> str:
        if "{{" not in text and "<" not in text:
            return text
        open_: list[list[str | _Trim]] = [[]]
        at = size = 0
        for count, found in enumerate(_TOKEN.finditer(text), 1):
            open_[-1].append(text[at : found.start()])
            at, token = found.end(), found.group()
            if token == "{{" and len(open_) <= DEEPEST:
                open_.append([])
                continue
            said = None
            if token == "}}" and len(open_) > 1:
                token = "{{" + _joined(open_.pop()) + "}}"
                said = self._said(token[2:-2], values, every)
            elif token[0] == "<":
                old = token.strip("<|>").lower()
                said = values.get(OLD.get(old, old))
            piece = token if said is None else said
            open_[-1].append(piece)
            length = len(piece) if isinstance(piece, str) else 0
            size += length
            self._grown += length - len(token)
            # What somebody said may be any JSON or LaTeX: there only what is put in counts.
            if self._grown > TOGETHER or (every and (count > MOST or size > LONGEST)):
                raise Refused("A text of the character grows without end. Look at its macros.")
        rest = text[at:]
        while len(open_) > 1:  # Never closed: no macro.
            rest = "{{" + _joined(open_.pop()) + rest
        return _joined([*open_[0], rest])

    def _said(self, inside: str, values: Mapping[str, str], every: bool) -> "str | _Trim | None":
        """What a macro says; None where it is none of ours."""
        name = inside.strip().lower()
        if name in values:
            return values[name]
        if not every:
            return None
        if name.startswith("//") or name.startswith(("comment:", "hidden_key:")):
            return ""
        if name.startswith("outlet::"):  # The rest counts as it is written.
            return values.get("outlet::" + inside.strip()[8:].strip(), "")
        if name in _PLAIN:
            return _PLAIN[name]
        if name in _TIMES or name.startswith("time_utc"):
            return self._time(name)
        if name == "idle_duration":
            return lasting(self._idle)
        head, colon, rest = inside.partition(":")
        if not colon:
            head, _, rest = inside.strip().partition(" ")
        does = self._with_words().get(head.strip().lower())
        return does(rest) if does else None

    def _with_words(self) -> Mapping[str, Callable[[str], str | None]]:
        return {
            "random": lambda rest: self._dice.choice(choices(rest)),
            "pick": self._pick,
            "roll": self._roll,
            "reverse": lambda rest: rest[::-1],
        }

    def _pick(self, rest: str) -> str:
        self._picked += 1
        return random.Random(f"pick {self.place} {self._picked} {rest}").choice(choices(rest))

    def _roll(self, rest: str) -> str | None:
        found = _DICE.fullmatch(rest.lstrip(":"))
        if not found:
            return None
        many = int(found[1] or 1) if "d" in rest.lower() else 1
        sides = int(found[2]) if "d" in rest.lower() else int(found[1] + found[2])
        if not sides:
            return None
        total = sum(self._dice.randint(1, sides) for _ in range(many))
        return str(total + int((found[3] or "0").replace(" ", "")))

    def _time(self, name: str) -> str | None:
        now = self._now or datetime.now().astimezone()
        if found := _OFFSET.fullmatch(name):
            zone = timezone(timedelta(hours=max(-23, min(23, int(found[1])))))
            return f"{now.astimezone(zone):%H:%M}"
        form = _TIMES.get(name)
        return now.strftime(form).replace(" 0", " ") if form else None


_PLAIN: Final[Mapping[str, str | _Trim]] = {"newline": "\n", "noop": "", "trim": TRIM}
_TIMES: Final[Mapping[str, str]] = {
    "time": "%H:%M",
    "isotime": "%H:%M",
    "date": "%B %d, %Y",
    "isodate": "%Y-%m-%d",
    "weekday": "%A",
}


def choices(rest: str) -> Sequence[str]:
    """What is chosen from: between `::`, else between commas (`\\,` is a comma)."""
    if "::" in rest:
        return [each.strip() for each in rest.removeprefix(":").split("::")]
    return [each.replace("\\,", ",").strip() for each in re.split(r"(?<!\\),", rest)]


def lasting(idle: timedelta | None) -> str:
    """How long something lasted, in words."""
    seconds = idle.total_seconds() if idle else 0
    for name, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if many := int(seconds // length):
            return f"{many} {name}s" if many > 1 else f"{'an' if name == 'hour' else 'a'} {name}"
    return "a few seconds" if seconds >= 1 else "just now"


def _joined(pieces: Sequence[str | _Trim]) -> str:
    """The pieces as one text; lines and blanks around a `trim` go."""
    said: list[str] = []
    trimming = False
    for piece in pieces:
        if isinstance(piece, _Trim):
            while said and not said[-1].rstrip():
                said.pop()
            if said:
                said[-1] = said[-1].rstrip()
            trimming = True
            continue
        piece = piece.lstrip() if trimming else piece
        trimming = trimming and not piece
        if piece:
            said.append(piece)
    return "".join(said)
