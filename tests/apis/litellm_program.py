"""A program that asks Ollama's API by litellm, which blocks its own loop there, and prints all.

`python -m tests.apis.litellm_program ADDRESS`, where a scripted model says: words, words, a call.
"""

import json
import os
import sys
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # Else its import asks the network for prices.

import litellm
import openai

litellm.suppress_debug_info = True
TOOL = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def main() -> None:
    """One reply, a stream, a call of a tool, and what is wrong."""
    said: Any = litellm.completion
    messages = [{"role": "user", "content": "Hello?"}]
    how = {"model": "ollama_chat/scripted", "api_base": sys.argv[1], "messages": messages}
    reply = said(**how)
    pieces = [piece.choices[0].delta.content or "" for piece in said(**how, stream=True)]
    [call] = said(**how, tools=[TOOL]).choices[0].message.tool_calls
    heard = {
        "reply": reply.choices[0].message.content,
        "tokens": reply.usage.completion_tokens,
        "stream": "".join(pieces),
        "call": [call.function.name, json.loads(call.function.arguments)],
    }
    try:
        said(**how, temperature=1e9)
    except openai.APIError as error:  # Of which litellm's errors are kinds.
        heard["wrong"] = str(error)
    sys.stdout.write(json.dumps(heard))


if __name__ == "__main__":
    main()
