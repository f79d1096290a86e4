"""How one token would be chosen, told instead of done."""

from collections.abc import Iterable

from torch import float64

from extensions.engine_kit.api import Aside, told
from extensions.llama_cpp.api import Context, Model
from extensions.llamacpp_hf.chooser import Chooser
from extensions.transformers.api import likeliest


class Told:
    """A chooser for a row of one token, which answers what another one made of it."""

    def __init__(self, chooser: Chooser, model: Model, aside: Aside, top: int) -> None:
        self._chooser, self._model, self._aside, self._top = chooser, model, aside, top
        self.behind = chooser.behind

    def sample(self, context: Context, row: int) -> int:
        """Answer; nobody hears of the token that is chosen, the likeliest one."""
        scores, after, cut_by = self._chooser.considered(context, row)
        before, model = scores.softmax(-1, dtype=float64), self._model

        def piece(id: int) -> bytes:
            return model.piece(id, special=True)

        self._aside.answer(told(before, after, cut_by, piece, likeliest, self._top))
        return int(scores.argmax())

    def take_back(self, count: int, banned: Iterable[int] = ()) -> None:
        """A single token is never taken back."""

    def close(self) -> None:
        self._chooser.close()
