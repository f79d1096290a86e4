"""The other characters of a conversation, as the one who speaks is told of them."""

from collections.abc import Mapping
from contextlib import suppress

from extensions.characters.api import Company, Library
from extensions.prompts.api import Options
from kernel.api import Refused

SHORT = 400
"""Characters of what is told of each."""


async def company_of(library: Library, options: Options) -> Company:
    """The names of all who are there, without those that are gone."""
    names: dict[str, str] = {}
    for id in options.group:
        with suppress(Refused):
            names[id] = (await library.get(id)).char
    muted = tuple(name for id, name in names.items() if id in options.muted)
    return Company(tuple(names.values()), muted)


async def others_of(library: Library, options: Options, company: Company) -> Mapping[str, str]:
    """Their names, each with the beginning of its description; without those that are gone."""
    found: dict[str, str] = {}
    for id in options.others:
        with suppress(Refused):
            other = await library.get(id)
            text = await library.expand(other.description, other, options.persona, company=company)
            found[other.char] = shortened(text)
    return found


def introduced(others: Mapping[str, str]) -> str:
    """A line for each of them; empty where there is nobody."""
    lines = [f"{name}: {text}" if text else name for name, text in others.items()]
    return "\n".join(["Also there:", *lines]) if lines else ""


def shortened(text: str) -> str:
    """The first paragraph of a text in one line, cut after a sentence or a word if it is long."""
    words = " ".join(text.strip().partition("\n\n")[0].split())
    if len(words) <= SHORT:
        return words
    cut = words[:SHORT]
    end = max(cut.rfind(". "), cut.rfind("! "), cut.rfind("? "))
    return cut[: end + 1] if end > 0 else cut.rpartition(" ")[0] + " …"
