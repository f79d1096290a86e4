"""How much stands in one request: with more, reading it would hold up the replies of others."""

from kernel.api import Meta

MESSAGES = Meta(max_length=10_000)
"""Of a conversation: a tenth of a second of reading."""
TOOLS = Meta(max_length=1000)
"""That are offered with it."""
