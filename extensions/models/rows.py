"""A model as the Model page shows it: what is known of it, in words."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from extensions.models import detection
from extensions.models.catalogue import Catalogue
from extensions.models.described import Described, Suited
from extensions.models.files import ModelFile
from extensions.models.views import size_in_words
from kernel.api import LOADERS, Extension

ROLES = {
    "adapter": "LoRA adapter", "projector": "For images (mmproj)", "part": "Part of a model",
    "pictures": "Makes pictures",
}  # fmt: skip
SAYS_SO = "The loader says so itself."


class Rows:
    """Models in the words of _list.html and _file.html."""

    def __init__(self, ext: Extension[Any], catalogue: Catalogue) -> None:
        self._ext, self._catalogue = ext, catalogue
        self._texts: dict[str, tuple[object, str]] = {}

    def takers(self, model: ModelFile, known: Described | None) -> list[Suited]:
        """The running loaders that take it, best first, each with the reason."""
        labels = self._labels()
        suits = known.loaders if known else ()
        found = [each for each in suits if each.loader in model.loaders]
        for id in model.loaders:
            if id in labels and (not known or id not in detection.LABELS):
                found.append(Suited(id, labels[id], SAYS_SO))
        return found

    def trouble(self, model: ModelFile) -> str:
        """Why it cannot be loaded as it is; empty where it can, or is not known yet."""
        known = self._catalogue.of(model)
        if known and known.form == "other" and {*model.loaders} - detection.LABELS.keys():
            return ""  # Whoever brings such a loader knows what it is for.
        if not known or known.trouble:
            return known.trouble if known else ""
        if takers := self.takers(model, known):
            return self._distrusted(model, known, takers)
        return detection.missing(known.loaders, self._off())

    def hidden(self, model: ModelFile) -> bool:
        """A folder that is a model only because a GGUF file lies in it, which is listed itself."""
        known = self._catalogue.of(model)
        bare = bool(known) and known.form == "GGUF" and not known.loaders and not known.trouble
        return bare and not self.takers(model, known)

    def row(self, model: ModelFile) -> dict[str, Any]:
        """The context of a row."""
        known = self._catalogue.of(model)
        takers, now = self.takers(model, known), self._ext.slot().state
        path = now.info.path if now.info else ""
        return {
            "name": model.name,
            "address": address_of(model.name),
            "facts": facts(model, known),
            "loader": takers[0].label if takers else "",
            "why": takers[0].why if takers else "",
            "read": known is not None,
            "role": ROLES.get(known.role, "") if known else "",
            "trouble": self.trouble(model),
            "loaded": now.state == "ready" and path == str(model.path),
        }

    def whole(self, model: ModelFile) -> dict[str, Any]:
        """All that is known of one: the context of _file.html."""
        known = self._catalogue.of(model) or Described()
        takers = self.takers(model, known)
        named = {each.loader for each in takers}
        return {
            **self.row(model),
            "title": known.title,
            "path": str(model.path),
            "table": table(model, known),
            "takers": takers,
            "others": [each for each in known.loaders if each.loader not in named],
            "base": known.base,
        }

    def read(self, models: Sequence[ModelFile]) -> None:
        """Have `says` know them all; blocking, where there are thousands."""
        for model in models:
            self.says(model)

    def says(self, model: ModelFile) -> str:
        """What a search looks through, in small letters."""
        known = self._catalogue.of(model)
        before, text = self._texts.get(model.name, ("", ""))
        if before is not known:
            about = (known.title, known.base, known.licence) if known else ()
            labels = (each.label for each in self.takers(model, known))
            text = " ".join((model.name, facts(model, known), *about, *labels)).lower()
            self._texts[model.name] = known, text
        return text

    def _distrusted(self, model: ModelFile, known: Described, takers: Sequence[Suited]) -> str:
        """What is said of programs of its own that no loader may run."""
        running = {loader.id: loader for loader in self._ext.get(LOADERS)}
        able = (running[each.loader] for each in takers)
        if not known.programs or any(getattr(loader, "trusts", True) for loader in able):
            return ""
        return (
            f"{model.path.name} brings programs of its own ({known.programs}: auto_map). If you "
            "trust who made it, start Spindle with --trust-remote-code."
        )

    def _labels(self) -> Mapping[str, str]:
        return {loader.id: loader.label for loader in self._ext.get(LOADERS)}

    def _off(self) -> frozenset[str]:
        """Loaders that are there and do not run: each is an extension of its name."""
        homes = (self._ext.folder.parent, self._ext.data_root / "extensions")
        running = self._labels()
        return frozenset(
            id
            for id in detection.LABELS.keys() - running.keys()
            if any((home / id / "extension.toml").is_file() for home in homes)
        )


def address_of(name: str) -> str:
    return f"/models/file/{quote(name)}"


def facts(model: ModelFile, known: Described | None) -> str:
    """What one wants to know first, in a line."""
    size = size_in_words(model.size)
    if not known:
        return size
    found = [
        short(known.architecture),
        in_words(known.parameters),
        known.quantization,
        f"{known.context_length:,} context" if known.context_length else "",
        size,
    ]
    return " · ".join(filter(None, found))


def table(model: ModelFile, known: Described) -> list[tuple[str, str]]:
    """The same and more, as names and values."""
    size, bits = size_in_words(model.size), 0.0
    if known.parameters and known.role == "model":
        bits = model.size * 8 / known.parameters
    files = f" in {known.files} files" if known.files > 1 else ""
    whole = known.layers and known.role == "model"
    found = [
        ("Architecture", known.architecture),
        ("Parameters", in_words(known.parameters)),
        ("Quantization", known.quantization),
        ("Context", f"{known.context_length:,} tokens" if known.context_length else ""),
        ("Layers", f"{known.layers:,}" if known.layers else ""),
        ("Size", f"{size}{files}{f', {bits:.1f} bits a weight' if 0 < bits < 40 else ''}"),
        ("Chat template", known.template or ("none" if whole else "")),
        ("Licence", known.licence),
        ("Made from", known.base),
    ]
    return [(name, value) for name, value in found if value]


def short(architecture: str) -> str:
    """“LlamaForCausalLM” is Llama."""
    for ending in ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel", "Model"):
        architecture = architecture.removesuffix(ending)
    return architecture


def in_words(parameters: int) -> str:
    """A count as names of models say it: 8.03B, 260K."""
    for unit, size in (("T", 10**12), ("B", 10**9), ("M", 10**6), ("K", 1000)):
        if parameters >= size:
            value = parameters / size
            return f"{value:.3g}{unit}" if value < 1000 else f"{value:.0f}{unit}"
    return str(parameters) if parameters else ""
