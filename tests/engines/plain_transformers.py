"""What transformers itself writes, as simply as can be: run in its environment, answers JSON.

`python plain_transformers.py MODEL_FOLDER ADAPTER_FOLDER < QUESTIONS`
"""

import json
import sys
from pathlib import Path

import torch  # pyright: ignore[reportMissingImports]  it is in the engine's environment
from safetensors.torch import load_file  # pyright: ignore[reportMissingImports]
from transformers import (  # pyright: ignore[reportMissingImports]
    AutoModelForCausalLM,
    AutoTokenizer,
)


def read(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


def adapted(model, folder):
    """The model with the adapter's low-rank products added to its weights."""
    config = json.loads((Path(folder) / "adapter_config.json").read_text("utf-8"))
    parts = load_file(Path(folder) / "adapter_model.safetensors")
    for name, weight in parts.items():
        if ".lora_A." in name:
            other = parts[name.replace(".lora_A.", ".lora_B.")]
            own = name.removeprefix("base_model.model.").replace(".lora_A.weight", "")
            scale = config["lora_alpha"] / config["r"]
            model.get_submodule(own).weight.data += scale * other @ weight
    return model


def encoded(tokenizer, text):
    """With the beginning that the model wants, unless the text has it."""
    return tokenizer(text, add_special_tokens=not text.startswith("<s>")).input_ids


def written(model, ids, count, **more):
    out = model.generate(torch.tensor([ids]), max_new_tokens=count, do_sample=False, **more)
    return out[0, len(ids) :].tolist()


def contrasted(model, ids, count, alpha, best):
    """Contrastive search by its definition: everything is computed anew for each candidate."""
    ids = list(ids)
    begin = len(ids)
    for _ in range(count):
        seen = model(torch.tensor([ids]), output_hidden_states=True)
        states = torch.nn.functional.normalize(seen.hidden_states[-1][0], dim=-1)
        likely, candidates = seen.logits[0, -1].softmax(-1).topk(best)
        tried = model(
            torch.tensor([[*ids, int(each)] for each in candidates]), output_hidden_states=True
        )
        state = torch.nn.functional.normalize(tried.hidden_states[-1][:, -1], dim=-1)
        values = (1 - alpha) * likely - alpha * (state @ states.T).max(dim=-1).values
        ids.append(int(candidates[int(values.argmax())]))
    return ids[begin:]


@torch.inference_mode()
def main(folder, adapter):
    model, tokenizer = read(folder), AutoTokenizer.from_pretrained(folder)
    asked = json.load(sys.stdin)
    prompt = tokenizer(asked["prompt"]).input_ids
    negative = torch.tensor([tokenizer(asked["negative"]).input_ids])
    logprobs = model(torch.tensor([prompt])).logits[0].log_softmax(-1)
    count, eos = asked["count"], {"eos_token_id": None}
    guided = [
        written(model, prompt, 60, guidance_scale=scale, negative_prompt_ids=other, **eos)
        for scale in asked["scales"]
        for other in (negative, None)
    ]
    print(json.dumps({
        "ids": [encoded(tokenizer, text) for text in asked["texts"]],
        "plain": tokenizer.decode(written(model, prompt, count, **eos)),
        "guided": [tokenizer.decode(each) for each in guided],
        "contrasted": [
            tokenizer.decode(contrasted(model, prompt, 40, *each)) for each in asked["contrasts"]
        ],
        "logprobs": [float(logprobs[at, id]) for at, id in enumerate(prompt[1:])],
        "adapted": tokenizer.decode(written(adapted(model, adapter), prompt, count, **eos)),
        "adapted_guided": tokenizer.decode(
            written(model, prompt, 60, guidance_scale=3.0, negative_prompt_ids=negative, **eos)
        ),
    }))  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
