"""Which build of an engine's environment is chosen on its extension's card."""

from collections.abc import Callable, Mapping
from typing import Any

from kernel.api import Action, Client, Extension, Kernel, Record, Refused

AUTOMATIC = "auto"
"""A choice of no build: the one that the extension finds best for this machine."""


class UseBuild(Action, frozen=True):
    """Choose a build of an engine's environment, from the next load on; "auto" is no choice."""

    id: str
    variant: str


def builds(kernel: Kernel, record: Record) -> dict[str, Any] | None:
    """The chosen one, and all by what they are called, where there are several."""
    if not record.manifest or not (table := record.manifest.worker) or not table.title:
        return None
    titles = {"": table.title} | {id: v.title for id, v in table.variants.items() if v.title}
    suits = titles.get(kernel.best_variant(record.manifest), "what suits this machine")
    chosen = kernel.settings.variant(record.id, AUTOMATIC)
    if chosen in table.variants:  # One without a title, that settings.yaml names.
        titles.setdefault(chosen, chosen)
    choices = [(AUTOMATIC, f"Automatic: {suits[0].lower()}{suits[1:]}"), *titles.items()]
    return {"chosen": chosen if chosen in titles else AUTOMATIC, "choices": choices}


def choosing(
    ext: Extension[Any],
    known: Callable[[str], str],
    push_card: Callable[[str, Mapping[str, str]], None],
) -> None:
    """Carry out the choice; `known` is the id of an extension that is there."""
    kernel = ext.admin

    @ext.on(UseBuild)
    async def use_build(action: UseBuild, client: Client) -> None:
        offered = builds(kernel, kernel.records[known(action.id)])
        if not offered or action.variant not in dict(offered["choices"]):
            raise Refused("There is no such build of it. Reload the page.")
        chosen = None if action.variant == AUTOMATIC else action.variant
        push_card(action.id, await kernel.changes.configure(action.id, {"variant": chosen}))
