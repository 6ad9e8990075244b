"""Penstock beside the real KEDA and the real HPA: one cluster, the same workers, the same requests at the same time."""
