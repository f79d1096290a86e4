"""What engines share inside their workers; on the server's side there is nothing to set up."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kernel.api import Extension


async def setup(ext: "Extension[Any]") -> None:
    """Contribute nothing: `extensions.engine_kit.api` is for the workers of others."""
