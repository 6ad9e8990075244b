"""`python -m penstock_lab.cluster`: the same as `penstock cluster`, without the rest of the `penstock` command."""

from penstock_lab.cluster.cli import cluster

cluster(prog_name="penstock cluster")
