"""A file from elsewhere, in whatever form it came."""

import io

from kernel.api import Refused

from . import trees
from .cards import Card, of_png, of_tree
from .folder import CHARX, LARGEST, is_charx, of_charx


def read_bytes(name: str, data: bytes) -> tuple[Card, bytes]:
    """The card in a file from elsewhere, and the picture or CharX file that it came in; raises
    Refused."""
    if len(data) > LARGEST:
        raise Refused(f"It is larger than {LARGEST >> 20} MB. Make it smaller.")
    if data.startswith(b"\x89PNG"):
        card = of_png(io.BytesIO(data))
        if not card:
            raise Refused("This picture holds no character. Choose a card, or a YAML or JSON file.")
        return card, data
    if is_charx(data) or name.lower().endswith(CHARX):
        return of_charx(io.BytesIO(data))[0], data
    text = data.removeprefix(b"\xef\xbb\xbf").lstrip()
    if text.startswith((b"{", b"[")) or name.lower().endswith(".json"):
        return of_tree(trees.from_json(text)), b""
    if b"\0" in data[:4096]:
        raise Refused("This is neither a card nor text. Choose a PNG, CharX, YAML or JSON file.")
    return of_tree(trees.from_yaml(data)), b""
