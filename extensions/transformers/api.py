"""All that the workers of other extensions may import from here; it imports PyTorch."""

from extensions.transformers.sampling import HONOURED, Process, Sampler
from extensions.transformers.vocabulary import Vocabulary

__all__ = ["HONOURED", "Process", "Sampler", "Vocabulary"]
