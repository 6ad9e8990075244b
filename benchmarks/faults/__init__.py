"""Faults and planned actions under open-loop load: what became of every single request.

`python -m benchmarks.faults` runs all scenarios on one local cluster, with the operator and two gateways installed from
the chart, and writes `docs/evidence/faults.md`.
"""
