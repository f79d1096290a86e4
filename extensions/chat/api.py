"""What other extensions may use of the chat: its renderer, so that all markdown is as safe."""

from .markdown import Code, Markdown, plain

__all__ = ["Code", "Markdown", "plain"]
