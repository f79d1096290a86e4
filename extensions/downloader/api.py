"""What other extensions may know of downloads, and do with them."""

from kernel.api import Point

from .downloads import Downloads
from .news import Downloaded, DownloadMoved
from .records import Entry

__all__ = ["DOWNLOADS", "DownloadMoved", "Downloaded", "Downloads", "Entry"]

DOWNLOADS: Point[Downloads] = Point("downloads", "What is being fetched, and how to fetch more.")
