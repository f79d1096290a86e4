"""Finds models on Hugging Face and fetches them, checked and whole."""

from kernel.api import Extension


async def setup(ext: Extension) -> None:
    """Nothing runs until a download is asked for."""
