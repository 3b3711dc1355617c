"""Grafana's dashboards, written by `python -m tools.dashboards`.

`grafana.py` knows Grafana's format, `promql.py` how to ask; the other modules are a page each.
"""
