# pyright: reportMissingImports=false
"""Train the guide, the small model that Spindle brings along: `python -m tools.train_guide`.

Needs torch, transformers, tokenizers, safetensors, gguf and numpy, and takes about half an hour
on two cores. Writes `models/guide/`; measure it afterwards with `python -m tools.measure_guide`.
"""

from __future__ import annotations

import os

# Before torch is imported: on a busy machine its spinning threads lose far more than they win.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import argparse
import math
import random
import time
from pathlib import Path

import torch
from torch.nn import functional
from transformers import AutoTokenizer, LlamaForCausalLM, PreTrainedTokenizerFast

from tools.guide.gguf_file import write_gguf
from tools.guide.lessons import REFUSAL, Elsewhere, lessons
from tools.guide.network import make_network, make_tokenizer
from tools.guide.samples import SYSTEM_PROMPTS, Sample, Teacher

TARGET = Path(__file__).parent.parent / "models" / "guide"
TOKENS_PER_STEP = 3072
WARM_UP = 60


def _batches(teacher: Teacher, whole: float) -> list[list[Sample]]:
    """Draw some steps' worth of samples and sort them into batches of like length."""
    drawn = sorted((teacher.sample(whole=whole) for _ in range(640)), key=lambda s: len(s.ids))
    batches: list[list[Sample]] = [[]]
    for sample in drawn:
        if len(sample.ids) * (len(batches[-1]) + 1) > TOKENS_PER_STEP and batches[-1]:
            batches.append([])
        batches[-1].append(sample)
    return batches


def _loss(network: LlamaForCausalLM, batch: list[Sample]) -> torch.Tensor:
    """Return the mean loss over the tokens to learn; padding stands at the end, out of sight."""
    length = max(len(sample.ids) for sample in batch)
    ids = torch.zeros(len(batch), length, dtype=torch.long)
    learn = torch.zeros(len(batch), length, dtype=torch.bool)
    for row, sample in enumerate(batch):
        ids[row, : len(sample.ids)] = torch.tensor(sample.ids)
        learn[row, : len(sample.ids)] = torch.tensor(sample.learn)
    hidden = network.model(input_ids=ids[:, :-1], use_cache=False).last_hidden_state
    wanted = learn[:, 1:]
    return functional.cross_entropy(network.lm_head(hidden[wanted]), ids[:, 1:][wanted])


def _optimizer(network: LlamaForCausalLM, rate: float) -> torch.optim.AdamW:
    matrices = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": rest, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.98))


def _share_of_rate(step: int, spent: float) -> float:
    """Return the learning rate's course, up to 1: a short rise, then a half cosine almost to 0."""
    fall = math.cos(min(1.0, spent) * math.pi / 2) ** 2
    return min(1.0, (step + 1) / WARM_UP) * (0.02 + 0.98 * fall)


def train(network: LlamaForCausalLM, teacher: Teacher, minutes: float, rate: float) -> None:
    """Train for some minutes: the rate follows the time spent, a busy machine only costs steps."""
    optimizer = _optimizer(network, rate)
    started, step, shown, recent = time.monotonic(), 0, 0.0, 0.0
    network.train()
    while (spent := (time.monotonic() - started) / (minutes * 60)) < 1:
        batches = _batches(teacher, whole=0.6 if spent < 0.15 else 0.25)
        random.shuffle(batches)
        for batch in batches:
            spent = (time.monotonic() - started) / (minutes * 60)
            for group in optimizer.param_groups:
                group["lr"] = rate * _share_of_rate(step, spent)
            loss = _loss(network, batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            step += 1
            recent = 0.98 * recent + 0.02 * loss.item() if step > 1 else loss.item()
            if time.monotonic() - shown > 20:
                shown = time.monotonic()
                print(f"step {step:5d}  {spent:4.0%}  loss {recent:.4f}", flush=True)
    network.eval()
    print(f"{step} steps in {time.monotonic() - started:.0f} s")


def save(network: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the folder that transformers loads, and the GGUF file beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    half = make_network(tokenizer).half()
    half.load_state_dict(network.state_dict())
    half.tie_weights()
    half.save_pretrained(folder)
    for passing in ("is_local", "local_files_only"):  # how it was loaded is no part of it
        tokenizer.init_kwargs.pop(passing, None)
    tokenizer.save_pretrained(folder)
    write_gguf(folder, folder / "guide.gguf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="how long to train")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--resume", type=Path, help="go on from the model in this folder")
    parser.add_argument("--out", type=Path, default=TARGET, help="the folder to write")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(arguments.seed)
    random.seed(arguments.seed)
    rng = random.Random(arguments.seed)
    taught = lessons()
    elsewhere = Elsewhere()
    # Answers weigh more than questions: each is written out again and again.
    texts = [REFUSAL, *(lesson.answer for lesson in taught)] * 30
    texts += [f"user\n{question}" for lesson in taught for question in lesson.questions]
    texts += [f"user\n{elsewhere.draw(rng)}" for _ in range(6000)]
    texts += [*SYSTEM_PROMPTS, "system\n", "assistant\n"] * 100
    resume = arguments.resume
    tokenizer = AutoTokenizer.from_pretrained(resume) if resume else make_tokenizer(texts)
    network = make_network(tokenizer)
    if resume:
        network.load_state_dict(LlamaForCausalLM.from_pretrained(resume).float().state_dict())
    print(f"{network.num_parameters():,} parameters, {len(tokenizer)} tokens in the vocabulary")
    teacher = Teacher(taught, lambda text: tokenizer.encode(text, add_special_tokens=False), rng)
    train(network, teacher, arguments.minutes, arguments.rate)
    save(network, tokenizer, arguments.out)


if __name__ == "__main__":
    main()
