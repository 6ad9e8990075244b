"""The gateway benchmark's upstream with chunks that are JSON. `python -m benchmarks.load.stub ADDRESS PORT`.

Its chunks carry when they were sent as nineteen digits, which JSON does not allow with zeros in front; here they are
a string of the same length.
"""

from __future__ import annotations

import sys

import uvloop
from benchmarks.gateway import stub

if __name__ == "__main__":
    vars(stub)["_CHUNK"] = vars(stub)["_CHUNK"].replace(b"%019d", b'"%019d"')
    uvloop.run(vars(stub)["_serve"](sys.argv[1], int(sys.argv[2])))
