"""A number for the lots that are drawn, where nobody gave one: known, so that a reply can be had
again."""

import secrets
from typing import Any

from msgspec import UNSET, structs

from kernel.api import Draft, Extension

MOST = 2**31
"""Programs may keep it in a signed number of 32 bits."""


class Seeds:
    """Draws one for each reply of an engine that takes seeds, a program's too."""

    def __init__(self, ext: Extension[Any]) -> None:
        self._ext = ext

    async def draw(self, draft: Draft) -> Draft:
        """The `REQUEST` modifier: late, so that whoever gives a seed is heard first."""
        request = draft.request
        model = self._ext.slot(request.slot).model
        if request.sampling.seed not in (UNSET, -1) or not model:
            return draft
        if "seed" not in model.info.samplers:
            return draft
        sampling = structs.replace(request.sampling, seed=secrets.randbelow(MOST))
        return structs.replace(draft, request=structs.replace(request, sampling=sampling))
