"""`python -m penstock_lab.load`: the command where its entry point is not installed."""

from penstock_lab.load.cli import load

if __name__ == "__main__":
    load.main(prog_name="penstock load")
