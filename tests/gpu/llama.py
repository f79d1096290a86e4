"""Make a Llama of random weights, as large as wished; run with the engine's Python.

    python tests/gpu/llama.py FOLDER LAYERS VOCABULARY

It is 2,048 wide like Llama 3.2 1B, which has 16 layers and 128,256 tokens.
"""

import shutil
import sys
from pathlib import Path

import torch  # pyright: ignore[reportMissingImports]  it is in the engine's environment
from transformers import LlamaConfig, LlamaForCausalLM  # pyright: ignore[reportMissingImports]

TOKENIZER = Path(__file__).parents[1] / "data" / "stories260K" / "hf"


def main() -> None:
    folder, layers, vocabulary = Path(sys.argv[1]), *map(int, sys.argv[2:])
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=layers,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=131_072,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device("cuda" if torch.cuda.is_available() else "cpu"):
        model = LlamaForCausalLM(config)
    model.to("cpu").save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(TOKENIZER / name, folder / name)


if __name__ == "__main__":
    main()
