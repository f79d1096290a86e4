"""YAML as Spindle writes it."""

import io
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.representer import SafeRepresenter


class _Representer(SafeRepresenter):
    """Writes a text with line ends or other unprintable characters on one line, escaped."""

    def represent_str(self, data: str) -> Any:
        style = None if data.isprintable() else '"'
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=style)  # pyright: ignore


_Representer.add_representer(str, _Representer.represent_str)  # pyright: ignore


def written(tree: Any) -> str:
    """The text of a tree."""
    yaml: Any = YAML(typ="safe", pure=True)
    yaml.Representer = _Representer
    yaml.default_flow_style, yaml.allow_unicode, yaml.width = False, True, 1 << 20
    yaml.sort_base_mapping_type_on_output = False
    stream = io.StringIO()
    yaml.dump(tree, stream)
    return stream.getvalue()
