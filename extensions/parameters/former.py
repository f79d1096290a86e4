"""What the chat kept in settings.yaml before there was this tab: taken over once."""

from typing import Any

from msgspec import structs

from kernel.api import Extension, Sampling, check

from .state import Keeper

NAMES = ("temperature", "max_new_tokens", "seed")


async def take_over(ext: Extension[Any], keeper: Keeper) -> None:
    """Make the chat's old settings choices here; the file stays as it is."""
    old = ext.written("chat")
    good, _ = check(Sampling, {name: old[name] for name in NAMES if name in old})
    added = old.get("loader_parameters")
    extra = dict(added) if isinstance(added, dict) else {}
    if keeper.now.taken_over or not (good or extra):
        return
    sampling = structs.replace(keeper.now.sampling, **good)
    extra = {**extra, **keeper.now.extra}
    await keeper.change(taken_over=True, sampling=sampling, extra=extra)
