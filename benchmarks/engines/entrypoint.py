"""The entrypoint of the "image" `vllm-cpu` on the local cluster: vLLM's own server, bound to the pod's address.

A container would have an address of its own, where 0.0.0.0 is right. Here all pods share one network namespace, so the
address that the node agent gives takes its place. Nothing else of the operator's command line is touched. Runs in the
Python of vLLM, with the standard library only.
"""

import os
import sys

ADDRESS = os.environ.get("PENSTOCK_BIND_ADDRESS", "0.0.0.0")  # noqa: S104 - what a container would do
ARGUMENTS = [f"--host={ADDRESS}" if word == "--host=0.0.0.0" else word for word in sys.argv[1:]]
os.execv(sys.executable, [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *ARGUMENTS])  # noqa: S606
