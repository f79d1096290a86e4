"""Who takes part in the steps to tell what may come next, and leaves without joining a reply."""

from typing import Any

import torch

from extensions.engine_kit.api import Aside, told
from extensions.transformers.sampling import likeliest
from extensions.transformers.writer import Writer
from kernel.contract import Output, Refused, Request


class Question:
    """What may come next after a request's prompt, with its sampling."""

    def __init__(self, request: Request, aside: Aside, top: int) -> None:
        self.request, self.aside, self.top = request, aside, top


class Answerer(Writer):
    """A row that is read, and answers instead of writing."""

    def __init__(self, question: Question, *given: Any) -> None:
        super().__init__(*given)
        self._question = question

    def write(self, id: int, scores: torch.Tensor) -> Output:
        """Answer, and end."""
        if scores.isnan().any():
            raise Refused("This model answers with what is no number; its file is damaged.")
        before = scores.softmax(-1, dtype=torch.float64)
        after, cut_by = self._sampler.explained(self.ids, self.guided(scores))
        vocabulary, question = self._vocabulary, self._question

        def piece(id: int) -> bytes:
            return vocabulary.bytes_of(id, False)

        question.aside.answer(told(before, after, cut_by, piece, likeliest, question.top))
        return Output(id, finish=self.finish("length"))
