"""Trees of plain values as YAML for people: comments stay, texts are blocks."""

import io
from collections.abc import Mapping
from typing import Any, cast

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter
from ruamel.yaml.scalarstring import LiteralScalarString

from kernel.api import Refused

from .trees import Tree, from_yaml, plain


def written(tree: Mapping[str, Any], before: str = "") -> bytes:
    """YAML of a tree; with the text it had `before`, its comments and order stay.

    What is written is read again: a form that would not hold what it should is not used.
    """
    if before:
        try:
            kept = _keeper().load(before)
            _merge(kept, tree)
            made = _dumped(_keeper(), kept)
            if from_yaml(made) == tree:
                return made
        except Exception:
            pass
    made = _dumped(_writer(), _literal(tree))
    if from_yaml(made) != tree:
        made = _dumped(_writer(), tree)
    return made


# --- inside -------------------------------------------------------------------------------


class _Representer(SafeRepresenter):
    """Writes texts of several lines as blocks where the text allows it."""

    def represent_literal(self, data: LiteralScalarString) -> Any:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style="|")

    def represent_text(self, data: str) -> Any:
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)


_Representer.add_representer(LiteralScalarString, _Representer.represent_literal)
_Representer.add_representer(str, _Representer.represent_text)


def _writer() -> Any:
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style, yaml.allow_unicode, yaml.width = False, True, 1 << 20
    yaml.sort_base_mapping_type_on_output = False
    return yaml


def _keeper() -> Any:
    yaml: Any = YAML(typ="rt", pure=True)
    yaml.preserve_quotes, yaml.width = True, 1 << 20
    return yaml


def _dumped(yaml: Any, tree: Any) -> bytes:
    stream = io.BytesIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def _merge(kept: Any, tree: Mapping[str, Any]) -> None:
    """Make `kept` hold what `tree` holds, changing only what differs."""
    for key in [key for key in kept if key not in tree]:
        del kept[key]
    for key, value in tree.items():
        if key in kept and isinstance(kept[key], dict) and isinstance(value, dict):
            _merge(kept[key], cast(Tree, value))
        elif key not in kept or _differs(kept[key], value):
            kept[key] = _literal(value)


def _differs(kept: Any, value: Any) -> bool:
    try:
        return plain(kept) != value
    except Refused:
        return True


def _literal(value: Any) -> Any:
    """Texts of several lines as blocks."""
    if isinstance(value, str):
        fits = "\n" in value and value.replace("\n", "").isprintable() and value.strip()
        return LiteralScalarString(value) if fits and value == value.lstrip() else value
    if isinstance(value, dict):
        return {k: _literal(v) for k, v in cast(Tree, value).items()}
    if isinstance(value, list):
        return [_literal(each) for each in cast("list[Any]", value)]
    return value
