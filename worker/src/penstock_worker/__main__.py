"""`python -m penstock_worker` is `penstock-worker`."""

from penstock_worker.cli import main

main()
