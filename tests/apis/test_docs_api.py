"""docs/api.md is true: each of its snippets is run against a server, each address answers."""

import asyncio
import re
import shutil
import sys
from pathlib import Path

import httpx

from kernel.testing import running
from tests.apis.clients import EXTENSIONS, model
from tests.sockets import serving

TEXT = (Path(__file__).parents[2] / "docs" / "api.md").read_text("utf-8")
BLOCKS = re.findall(r"^## ([^\n]+)\n(?:(?!^## ).)*?^```(python|sh)\n(.*?)^```", TEXT, re.S | re.M)
FIRST = {
    "": ("/v1/models", "/api/version", "/api/tags", "/props", "/v1/model/list"),
    "/v1": ("/models",),
    "/api": ("/v1/model", "/v1/info/version", "/extra/version"),
}
"""What is asked first, by the end of an address."""


def test_every_family_has_its_section():
    names = re.findall(r"^## (.+)$", TEXT, re.M)
    assert names == [
        "SillyTavern", "Open WebUI", "Continue", "Aider", "OpenAI's SDK", "LangChain",
        "Anthropic's SDK", "Ollama clients", "Old scripts of text-generation-webui",
        "KoboldAI clients", "curl", "WebSocket",
    ]  # fmt: skip
    assert [name for name, _, _ in BLOCKS] == names[3:]


async def run(kind: str, words: str) -> str:
    """What a snippet prints, in a process of its own."""
    command = [sys.executable, "-c"] if kind == "python" else ["sh", "-c"]
    process = await asyncio.create_subprocess_exec(
        *command, words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return out.decode()


async def test_every_snippet_and_address():
    extensions = (*EXTENSIONS, "kobold_api", "legacy_api", "websocket_api")
    async with running(*extensions, model=model()) as app, serving(app) as served:
        assert shutil.which("curl"), "the snippets need curl"
        for name, kind, words in BLOCKS:
            here = re.sub(r"127\.0\.0\.1:(7860|5000)", f"127.0.0.1:{served.port}", words)
            said = await run(kind, here)
            assert "One two." in said, name
        addresses = re.findall(r"^\|.*`http://127\.0\.0\.1:7860([^`]*)` \|$", TEXT, re.M)
        assert len(addresses) == 13
        async with httpx.AsyncClient(timeout=60) as web:
            for end in set(addresses):
                for path in FIRST[end]:
                    answer = await web.get(f"{served.http}{end}{path}")
                    assert answer.status_code == 200, (end, path)
