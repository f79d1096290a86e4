"""GET /metrics: the counts as Prometheus reads them (its text format 0.0.4)."""

from collections.abc import Iterator
from typing import Any

from extensions.api_kit.api import Runs
from kernel.api import ModelInfo

from .counts import Counts, Spread


class Collector:
    """What prometheus-client collects from when somebody asks."""

    def __init__(self, counts: Counts, runs: Runs, info: ModelInfo | None) -> None:
        self._counts, self._runs, self._info = counts, runs, info

    def collect(self) -> Iterator[Any]:
        """The families, each with its samples."""
        from prometheus_client.core import (  # noqa: PLC0415 - 0.1 s, for who has a Prometheus
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        counts = self._counts
        says = "Requests that have ended, by their API and how."
        family = CounterMetricFamily("spindle_requests", says, labels=["api", "state"])
        for (api, state), many in sorted(counts.requests.items()):
            family.add_metric([api, state], many)
        yield family
        says = "Tokens of requests: read, of those known already, written."
        family = CounterMetricFamily("spindle_tokens", says, labels=["kind"])
        for kind in ("prompt", "cached", "completion"):
            family.add_metric([kind], counts.tokens[kind])
        yield family
        says = "Requests under way, by what they do now."
        family = GaugeMetricFamily("spindle_requests_live", says, labels=["state"])
        for state in ("waiting", "reading", "writing"):
            family.add_metric([state], sum(run.state == state for run in self._runs.live))
        yield family
        yield spread("spindle_queue_seconds", "From a request to its turn.", counts.waiting)
        yield spread("spindle_first_token_seconds", "From there to its first word.", counts.first)
        yield spread("spindle_request_seconds", "From a request to its end.", counts.whole)
        says = "The model that is loaded, if one is."
        family = GaugeMetricFamily("spindle_model_loaded", says, labels=["model", "loader"])
        if self._info:
            family.add_metric([self._info.name, self._info.loader], 1)
        yield family


def spread(name: str, says: str, of: Spread) -> Any:
    """A histogram."""
    from prometheus_client.core import HistogramMetricFamily  # noqa: PLC0415 - see above

    family = HistogramMetricFamily(name, says)
    family.add_metric([], buckets=of.buckets(), sum_value=of.total)
    return family


def text(collector: Collector) -> tuple[bytes, str]:
    """The page and its media type; blocking."""
    from prometheus_client import CollectorRegistry, exposition  # noqa: PLC0415 - see above

    registry = CollectorRegistry()
    registry.register(collector)
    return exposition.generate_latest(registry), exposition.CONTENT_TYPE_PLAIN_0_0_4
