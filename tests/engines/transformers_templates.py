"""What transformers makes of chat templates: run in its environment, asked and answered in JSON."""

import json
import sys

from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast  # pyright: ignore[reportMissingImports]

if __name__ == "__main__":
    bare = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bare, bos_token="<s>", eos_token="</s>")
    said = []
    for source, messages, how in json.load(sys.stdin):
        try:
            text = tokenizer.apply_chat_template(
                messages, chat_template=source, tokenize=False, **how
            )
            said.append({"text": text})
        except Exception as error:
            said.append({"error": f"{type(error).__name__}: {error}"})
    json.dump(said, sys.stdout)
