"""What the operator costs at 1,000 and 5,000 resources, beside the cheapest program that kopf allows.

`make bench-operator` runs it. It measures on a real control plane of its own and needs no pods.
"""
