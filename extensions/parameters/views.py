"""What the templates show: the tab, the pop-up beside a composer, and its button."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET

from kernel.api import LOADERS, Extension, Field, Sampling, Struct, fields

from . import texts
from .choices import TYPED, Choices
from .presets import GROUPS, HELD
from .texts import KNOWN
from .tokens import Piece

QUICK = ("temperature", "max_new_tokens", "seed")
"""What stands beside a composer."""
ALL = (*GROUPS, "Length", "Tokens and stopping", "Beam search")
"""Groups in their order."""
OPEN = GROUPS[:2]
"""Groups that are not folded away."""
MASTERS = {
    "dry": "dry_multiplier", "dynamic_temperature": "dynamic_temperature",
    "quadratic_sampling": "smoothing_factor", "adaptive_p": "adaptive_target",
    "mirostat": "mirostat_mode", "xtc": "xtc_probability",
    "no_repeat_ngram": "no_repeat_ngram_size",
}  # fmt: skip
"""What an entry of the order is called as a parameter."""
AREAS = ("negative_prompt", "dry_sequence_breakers", "custom_stopping_strings", *TYPED)
HELP = {
    "custom_token_bans": "Tokens that never come: numbers, or texts of one token, one a line.",
    "logit_bias": "Added to the scores of tokens, one a line: 1234: -2 or “ word”: 1.5 in plain "
    "quotation marks.",
    "custom_stopping_strings": 'A reply ends before any of these: "\\n", "Human:"',
}


class Row(Struct, frozen=True):
    """One parameter in the form."""

    name: str
    label: str
    help: str
    kind: str
    value: str
    rest: str
    """What applies where nothing is said."""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    at: str = ""
    """Where the slider stands."""
    changed: bool = False
    honoured: bool = True
    inactive: bool = False
    on: bool = False
    error: str = ""
    pieces: tuple[Piece, ...] = ()
    choices: tuple[tuple[str, str], ...] = ()


class Views:
    """Makes contexts; nothing in here waits."""

    def __init__(self, ext: Extension[Any], choices: Choices) -> None:
        self._ext, self._choices = ext, choices
        self._fields = {field.name: field for field in fields(Sampling)}

    def row(self, name: str, error: str = "", typed: str = "") -> Row:
        """One parameter as it stands."""
        choices, known, field = self._choices, KNOWN[name], self._fields[name]
        low, high = known.shown if known.shown != (0, 0) else (field.low, field.high)
        rest = choices.rest(name)
        if name in TYPED:
            value = getattr(choices.now, TYPED[name])
        else:
            value = texts.written(name, getattr(choices.now.sampling, name))
        applies = choices.applies(name)
        numeric = field.kind in ("number", "range")
        kind = "area" if name in AREAS else "number" if numeric else "switch"
        if name == "sampler_priority":
            kind = "order"
        if numeric and low is not None and high is not None and name != "seed":
            kind = "slider"
        at = applies if isinstance(applies, int | float) else low or 0
        return Row(
            name,
            name,
            HELP.get(name, known.help),
            kind,
            typed or value,
            "" if name in TYPED else texts.written(name, rest),
            low,
            high,
            known.step or (1 if isinstance(known.neutral, int | None) else 0.01),
            f"{min(max(at, low or 0), high or at):.12g}" if kind == "slider" else "",
            choices.changed(name),
            choices.honoured(name),
            choices.inactive(name),
            applies is True,
            error,
        )

    def groups(self, shown: Collection[str] | None, errors: Mapping[str, str]) -> list[Any]:
        """All parameters by their groups, without those that tune what is off; only those in
        `shown`, if there is such a list. What was changed is never hidden."""
        found = dict[str, list[Row]]((title, []) for title in ALL)
        for name, known in KNOWN.items():
            row = self.row(name, errors.get(name, ""))
            belongs = not row.inactive or name == "negative_prompt"
            if row.changed or row.error or (belongs and (shown is None or name in shown)):
                found[known.group].append(row)
        return [self.group(title, rows) for title, rows in found.items() if rows]

    def group(self, title: str, rows: Sequence[Row]) -> dict[str, Any]:
        return {
            "id": title.split()[0].lower() + title.split()[-1].lower(),
            "title": title,
            "rows": rows,
            "open": title in OPEN,
            "changed": sum(row.changed for row in rows),
            "lacking": sum(row.changed and not row.honoured for row in rows),
        }

    def order(self) -> list[dict[str, Any]]:
        """The samplers in their order."""
        return [
            {"name": name, "honoured": self._choices.honoured(MASTERS.get(name, name))}
            for name in self._choices.order()
        ]

    def loaders(self) -> list[tuple[str, str, tuple[str, ...]]]:
        """Loaders that say what they honour before anything is loaded: id, label, names."""
        found: list[tuple[str, str, tuple[str, ...]]] = []
        for loader in self._ext.get(LOADERS):
            if samplers := tuple(getattr(loader, "samplers", ())):
                found.append((loader.id, loader.label, samplers))
        return found

    def shown(self, filter: str) -> Collection[str] | None:
        """The parameters that a filter leaves; None: all."""
        if filter == "now":
            info = self._choices.info
            return info.samplers if info else None
        return next((samplers for id, _, samplers in self.loaders() if id == filter), None)

    def bar(self, names: Sequence[str], own: Collection[str]) -> dict[str, Any]:
        """The row of presets."""
        now, info = self._choices.now, self._choices.info
        changed = [name for name in HELD if self._choices.changed(name)]
        return {
            "names": names,
            "own": now.preset in own,
            "preset": now.preset,
            "neutral": now.neutral,
            "gone": bool(now.preset) and now.preset not in names,
            "changed": changed,
            "different": [
                {"name": k, "value": texts.written(k, v).replace("\n", ", ")}
                for k, v in self._choices.different().items()
            ],
            "problems": self._choices.preset.problems,
            "model": info.name if info else "",
            "for_model": now.standards.get(info.name, "") if info else "",
            "for_all": now.standard,
        }

    def lacking(self) -> list[str]:
        """What is chosen and the loaded model does not honour."""
        said = [name for name in KNOWN if self._choices.changed(name) or name in self._set()]
        lacking = [name for name in said if not self._choices.honoured(name)]
        return lacking if self._choices.heeds() else [*lacking, *self._choices.added()]

    def quick(self, names: Sequence[str], errors: Mapping[str, str]) -> dict[str, Any]:
        """The pop-up beside a composer, and its button."""
        now = self._choices.now
        temperature = self._choices.now.sampling.temperature
        label = now.preset or ("Neutral" if now.neutral else "")
        if temperature is not UNSET and self._choices.changed("temperature"):
            label = f"Temperature {temperature:g}"
        return {
            "rows": [self.row(name, errors.get(name, "")) for name in QUICK],
            "added": self.added(errors) if self._choices.heeds() else [],
            "names": names,
            "preset": now.preset,
            "neutral": now.neutral,
            "label": label or "Parameters",
            "lacking": self.lacking(),
        }

    def added(self, errors: Mapping[str, str], filter: str = "") -> list[Row]:
        """What the loader adds; what its engine does not take only where the filter leaves it."""
        found, heeds = list[Row](), self._choices.heeds()
        for kind in self._choices.kinds():
            values = self._choices.added()
            mine = {k: v for k, v in values.items() if k in kind.__struct_fields__}
            for field in fields(kind, msgspec.convert(mine, kind)):
                if heeds or field.changed or filter != "now":
                    found.append(_of_field(field, errors.get(field.name, ""), heeds))
        return found

    def _set(self) -> set[str]:
        now = self._choices.now.sampling
        return {name for name in KNOWN if getattr(now, name) is not UNSET}


def _of_field(field: Field, error: str, honoured: bool) -> Row:
    kinds = {"range": "slider", "list": "area", "choice": "choice"}
    text = field.value if isinstance(field.value, str) else ""
    rest = field.default if isinstance(field.default, str) else ""
    return Row(
        field.name,
        field.label,
        field.help,
        kinds.get(field.kind, field.kind),
        text if field.changed or field.kind == "choice" else "",
        rest,
        field.low,
        field.high,
        field.step,
        text,
        field.changed,
        honoured,
        on=field.value is True,
        error=error,
        choices=field.choices,
    )
