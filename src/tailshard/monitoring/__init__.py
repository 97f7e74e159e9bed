"""How a search is doing, for people who watch many: Prometheus metrics, as a file and as a page."""

from .metrics import Metrics
from .publish import TEXTFILE, published

__all__ = ["TEXTFILE", "Metrics", "published"]
