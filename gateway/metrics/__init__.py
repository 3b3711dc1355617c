"""The metrics of the gateway. Names, labels and buckets are an interface: docs/metrics.md lists them.

names         what is counted along the way of a call
metrics       counts it
readings      what is read where it lives, at each scrape
instruments   what is counted with
labels        label values, from closed sets
workers       joins the values of several workers
exposition    Prometheus' text format
scrape        answers `GET /metrics` with all of it
"""

from gateway.metrics.labels import OTHER
from gateway.metrics.metrics import Metrics

__all__ = ["OTHER", "Metrics"]
