"""What is chosen reaches the replies of pages here; programs say their own parameters."""

from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, structs

from kernel.api import (
    Conversation,
    Draft,
    Everyone,
    Extension,
    Model,
    ModelInfo,
    Sampling,
    Turn,
)

from . import texts
from .choices import HERE, LONGEST, TYPED, Choices
from .presets import HELD, NEUTRAL
from .tokens import Lists

LATE = (
    "The tokens of {} are still being looked up with {}, so this reply is made without. "
    "A later one has them."
)


class Asking:
    """Fills what a page's turn leaves unset; what the model cannot honour is left out and told."""

    def __init__(self, ext: Extension[Any], choices: Choices) -> None:
        self._ext, self._choices = ext, choices
        self._told: set[frozenset[str]] = set()
        self._lists = Lists(ext.spawn)

    def forget(self) -> None:
        """Something else is chosen, or another model is there: say again what it cannot do."""
        self._told.clear()

    def fill(self, turn: Turn) -> Turn:
        """For `INPUT`: what is said by name, so that modes can count on it."""
        return structs.replace(turn, sampling=self._over(turn.sampling, self.said()))

    async def fit(self, draft: Draft) -> Draft:
        """The `REQUEST` modifier: what only the loaded model tells."""
        request, turn = draft.request, draft.turn
        model = self._ext.slot(request.slot).model
        if not turn.client or not model:
            return draft
        sampling, said = self._over(request.sampling, self.meant(model.info)), self.said()
        sampling = self._over(sampling, await self._typed(model, turn))
        lacks = [
            name
            for name, value in structs.asdict(sampling).items()
            if value is not UNSET and name not in (*model.info.samplers, *HERE, "extra")
        ]
        mine = [
            name for name in lacks if name in TYPED or getattr(sampling, name) == said.get(name)
        ]
        sampling = structs.replace(sampling, **dict.fromkeys(mine, UNSET))
        mine += self._choices.strange()
        if self._choices.heeds() and (added := self._choices.added()):
            theirs = {} if sampling.extra is UNSET else sampling.extra
            sampling = structs.replace(sampling, extra={**added, **theirs})
        if grammar := "" if request.grammar else self._choices.grammar():
            able = "grammar" in model.info.capabilities
            request = structs.replace(request, grammar=grammar if able else "")
            mine += [] if able else ["grammar"]
        self._tell([name for name in mine if self._matters(name)], model.info, turn)
        return structs.replace(draft, request=structs.replace(request, sampling=sampling))

    def said(self) -> dict[str, Any]:
        """What somebody chose, by name."""
        said = {k: v for k, v in structs.asdict(self._choices.now.sampling).items() if k != "extra"}
        if said["max_new_tokens"] is UNSET and said["auto_max_new_tokens"] is not True:
            said["max_new_tokens"] = LONGEST
        return {name: value for name, value in said.items() if value is not UNSET}

    def meant(self, info: ModelInfo) -> dict[str, Any]:
        """What a preset means by saying nothing: not what the model's own files say."""
        if not self._choices.now.neutral:
            return {}
        own = structs.asdict(info.defaults)
        meant = {name: NEUTRAL[name] for name in HELD if own[name] is not UNSET}
        if "sampler_priority" in info.samplers:
            meant["sampler_priority"] = texts.ORDER
        return meant

    # --- inside --------------------------------------------------------------------------

    def _over(self, sampling: Sampling, values: dict[str, Any]) -> Sampling:
        """The values, where it is silent."""
        unset = {k: v for k, v in values.items() if getattr(sampling, k) is UNSET}
        return structs.replace(sampling, **unset)

    async def _typed(self, model: Model, turn: Turn) -> dict[str, Any]:
        """Bans and biases as this model's tokens."""
        found: dict[str, Any] = {}
        typed = {name: getattr(self._choices.now, field) for name, field in TYPED.items()}
        typed = {name: text for name, text in typed.items() if text}
        lists = await self._lists.read(typed, model)
        for name, pieces in lists.items():
            ids = {id: each.bias for each in pieces if not each.problem for id in each.tokens}
            if ids:
                found[name] = tuple(ids) if name == "custom_token_bans" else ids
        if late := [name for name in typed if name not in lists]:
            self._say(LATE.format(", ".join(late), model.info.name), turn)
        return found

    def _matters(self, name: str) -> bool:
        """Whether leaving it out changes anything."""
        if name not in NEUTRAL:
            return True
        return self._choices.applies(name) != NEUTRAL[name] and not self._choices.inactive(name)

    def _tell(self, names: Sequence[str], info: ModelInfo, turn: Turn) -> None:
        """Once, until something else is chosen or loaded."""
        key = frozenset(names)
        if not names or key in self._told:
            return
        self._told.add(key)
        text = (
            f"{info.name} in {info.loader} cannot do this: {', '.join(names)}. The reply is "
            f"made without. {info.way(names) or 'The Parameters tab shows what it can do.'}"
        )
        self._say(text, turn)

    def _say(self, text: str, turn: Turn) -> None:
        to: Any = Conversation(turn.conversation_id) if turn.conversation_id else Everyone()
        self._ext.tell(text, to)
