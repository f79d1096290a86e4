# pyright: reportMissingImports=false
"""The guide's tokenizer and network, in the forms that plain transformers saves and loads."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from tools.guide.samples import CONTEXT, PADDING, TURN_END, TURN_START

# Every width is a multiple of 32, the block of q8_0. Four wide layers learn this as well as
# six narrow ones and take a third less time on a CPU.
VOCABULARY, WIDTH, LAYERS, HEADS, KEY_HEADS, INNER = 1280, 256, 4, 8, 4, 576


def make_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer whose vocabulary holds all 256 bytes."""
    inner = Tokenizer(models.BPE())
    # The split of GPT-2, which llama.cpp knows under that name.
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    inner.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[PADDING, TURN_START, TURN_END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    inner.train_from_iterator(texts, trainer)
    template = Path(__file__).with_name("chat_template.jinja").read_text(encoding="utf-8")
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=TURN_END,
        pad_token=PADDING,
        additional_special_tokens=[TURN_START],
        chat_template=template,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def make_network(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the untrained network."""
    ends = {
        "bos_token_id": None,
        "eos_token_id": tokenizer.convert_tokens_to_ids(TURN_END),
        "pad_token_id": tokenizer.convert_tokens_to_ids(PADDING),
    }
    network = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer),
            hidden_size=WIDTH,
            intermediate_size=INNER,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KEY_HEADS,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            rms_norm_eps=1e-5,
            **ends,
        )
    )
    network.generation_config = GenerationConfig(do_sample=False, **ends)
    return network
