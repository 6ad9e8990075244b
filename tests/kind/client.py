"""Open-loop load from a pod: `client.py URL RATE SEED [SHORTEST LONGEST]`, until its input ends.

It prints a line of JSON per answer, as each comes, and one of `sent` at the end. It never tries again. Beside it lies
the load of `benchmarks/faults`, and both run in an image of ours, which has all that they import.
"""

import asyncio
import json
import sys
from dataclasses import asdict

from traffic import LENGTHS, Lengths, Phase, Traffic

FOREVER = 3600.0


async def main(url: str, rate: str, seed: str, *output: str) -> None:
    lengths = Lengths(LENGTHS.prompt, (int(output[0]), int(output[1]))) if output else LENGTHS
    phases = (Phase("steady", FOREVER, float(rate)),)
    loop = asyncio.get_running_loop()
    told = 0

    def tell(traffic: Traffic) -> None:
        nonlocal told
        for answer in traffic.answers[told:]:
            print(json.dumps(asdict(answer)), flush=True)
        told = len(traffic.answers)

    async with Traffic(lambda: url, "load", phases, lengths=lengths, seed=int(seed)) as traffic:
        end = loop.run_in_executor(None, sys.stdin.read)
        while not end.done():
            await asyncio.wait([end], timeout=0.25)
            tell(traffic)
        await traffic.stop()
        tell(traffic)
        print(json.dumps({"sent": traffic.sent}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
