"""The Transformers loader's engine, whose `draw` and `follow` choose from given logits."""

from collections import Counter
from pathlib import Path

import msgspec
import torch  # pyright: ignore[reportMissingImports]  it is in the engine's environment

from kernel.contract import Sampling
from kernel.worker_host import load_code

FOLDER = Path(__file__).parents[2] / "extensions" / "transformers"
Transformers = load_code(f"{FOLDER / 'worker.py'}:Engine")


class Engine(Transformers):
    def call(self, name, report, cancelled, **data):
        own = {"draw": self.draw, "follow": self.follow, "keeps": self.keeps}
        if name in own:
            return own[name](**data)
        return super().call(name, report, cancelled, **data)

    def keeps(self, grammar, texts):
        """How many letters of each text a grammar allows, and whether it may end there; each
        letter's bytes are asked about by themselves, and as they are masked."""
        tokens = {piece: id for id, piece, _ in self._vocabulary.described(range(3, 259))}
        return [self.kept(self._grammars.constraint(grammar), text, tokens) for text in texts]

    def kept(self, constraint, text, tokens):
        for at, letter in enumerate(text):
            for byte in letter.encode():
                token = tokens[bytes([byte])]
                allowed = constraint.allows(token)
                if not allowed:
                    return [at, False]
                constraint.accept(token)
        return [len(text), constraint.end is not None]

    def draw(self, logits, sampling, count, prompt=()):
        """How often each token came as the first after the prompt."""
        sampler, given = self.sampler(logits, sampling, prompt)
        found = Counter()
        for _ in range(count):
            found[sampler(prompt, given)] += 1
            sampler.take_back(1)
        return list(found.items())

    def follow(self, logits, sampling, prompt=(), length=1):
        """The tokens that one run chose, each with the shares that it was chosen by and what took
        the others."""
        sampler, given = self.sampler(logits, sampling, prompt)
        ids, told = list(prompt), []
        for _ in range(length):
            after, cut_by = sampler.explained(ids, given)
            ids.append(sampler(ids, given))
            shares = [[id, float(after[id])] for id in after.nonzero()[:, 0].tolist()]
            told.append([ids[-1], shares, list(cut_by.items())])
        return told

    def sampler(self, logits, sampling, prompt):
        from extensions.transformers.api import Sampler  # noqa: PLC0415 - after load_code

        given = torch.full((self._tokens.size,), -torch.inf)
        given[[int(token) for token in logits]] = torch.tensor(list(logits.values()))
        wished = msgspec.convert({"seed": 7, **sampling}, Sampling)
        return Sampler(wished, prompt, self._tokens), given
