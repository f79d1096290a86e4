"""transformers' own generate, as a floor: bare.py FOLDER DEVICE CUDNN, with the engine's Python.

CUDNN is 0 to leave cuDNN's attention out, which is slow the first time at each length, else 1.
Each line on its input asks for `streams tokens sampled`; it answers with the seconds that took.
"""

import sys
import time

import torch  # pyright: ignore[reportMissingImports]  it is in the engine's environment
from transformers import AutoModelForCausalLM  # pyright: ignore[reportMissingImports]

PROMPT = 32


def main() -> None:
    folder, device, cudnn = sys.argv[1:]
    torch.backends.cuda.enable_cudnn_sdp(cudnn == "1")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").to(device).eval()
    for line in sys.stdin:
        streams, tokens, sampled = map(int, line.split())
        ids = torch.randint(3, 500, (streams, PROMPT), device=device)
        how = {"do_sample": True, "temperature": 0.8, "top_p": 0.95, "top_k": 0}
        begun = time.perf_counter()
        reply = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            pad_token_id=0,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            **(how if sampled else {"do_sample": False}),
        )
        assert reply.cpu().shape == (streams, PROMPT + tokens)
        print(time.perf_counter() - begun, flush=True)


if __name__ == "__main__":
    main()
