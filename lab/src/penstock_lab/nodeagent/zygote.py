"""A process that has imported a heavy module once and forks workers that need it: tens of milliseconds, not seconds.

Started by the agent as `python zygote.py MODULE…` with one end of a SEQPACKET socket as standard input. It imports the
modules, says `ready`, and then forks on each request: a JSON object and, as ancillary data, the descriptor for the
output. A child becomes what `python -m MODULE` would have made: own session, environment, folder, signal handlers and
`sys.argv`; it leaves this file and runs the module. Children die with the zygote, the zygote dies with the agent, and
the ends of children are reported with their wait status.

A fork shows its parent's environment in `/proc/PID/environ`, where strays are looked for. So the zygote is started
with marks of the right length, which a child overwrites in place with its own. Standard library only, one thread. The
module to run must not be among those imported, only what it imports.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import importlib
import io
import json
import os
import runpy
import select
import signal
import socket
import sys
import traceback
from typing import Any

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
MESSAGE_BYTES = 1 << 20
UNBUFFERED = "PYTHONUNBUFFERED"
_LIBC = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Serve until the agent goes away; return in a child only, ready to run its module."""
    modules = sys.argv[1:]
    control = socket.socket(fileno=os.dup(0))
    for module in modules:
        importlib.import_module(module)
    gc.collect()
    gc.freeze()  # keeps the collector from touching, and so copying, the shared pages
    _send(control, {"event": "ready"})
    request = _serve(control)
    sys.argv = request["argv"]
    runpy.run_module(request["module"], run_name="__main__", alter_sys=True)


def _serve(control: socket.socket) -> dict[str, Any]:
    """Fork on request; return the request in the child."""
    wake, notify = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(notify, False)
    signal.set_wakeup_fd(notify)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    children: set[int] = set()
    while True:
        readable = select.select([control.fileno(), wake], [], [])[0]
        if wake in readable:
            with contextlib.suppress(BlockingIOError):
                os.read(wake, 4096)
            _reap(control, children)
        if control.fileno() in readable:
            data, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
            if not data:
                os._exit(0)
            request: dict[str, Any] = json.loads(data)
            parent = os.getpid()
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                control.detach()  # its number may soon be another file's
                _become(request, parent, descriptors[0])
                return request
            children.add(pid)
            os.close(descriptors[0])
            _send(control, {"event": "started", "id": request["id"], "pid": pid})


def _reap(control: socket.socket, children: set[int]) -> None:
    while children:
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(found.si_pid, signal.SIGKILL)  # before the id can be used again
        _, status = os.waitpid(found.si_pid, 0)
        children.discard(found.si_pid)
        _send(control, {"event": "ended", "pid": found.si_pid, "status": os.waitstatus_to_exitcode(status)})


def _become(request: dict[str, Any], parent: int, output: int) -> None:
    """Turn a fresh fork into the process that was asked for."""
    os.setsid()
    _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
    _LIBC.prctl(PR_SET_NAME, request["module"].encode()[:15], 0, 0, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (output, 1), (output, 2)):
        os.dup2(source, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    _mark(request["environment"], request["marks"])
    os.environ.clear()
    os.environ.update(request["environment"])
    if os.environ.get(UNBUFFERED) and isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(write_through=True)
    if request["nice"]:
        os.nice(request["nice"])
        with contextlib.suppress(OSError), open("/proc/self/autogroup", "w") as group:  # noqa: PTH123 - see above
            group.write(str(request["nice"]))
    try:
        os.chdir(request["folder"])
    except OSError:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(128)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # forks must not draw the same numbers


def _mark(environment: dict[str, str], names: list[str]) -> None:
    """Overwrite the marks in the memory that `/proc/self/environ` shows, each by one of the same length."""
    with open("/proc/self/stat", "rb") as stat:  # noqa: PTH123 - the fewest imports
        fields = stat.read().rpartition(b")")[2].split()
    start, end = int(fields[47]), int(fields[48])  # env_start and env_end, fields 50 and 51 of proc_pid_stat(5)
    block = ctypes.string_at(start, end - start)
    for name in names:
        value = environment[name].encode()
        at = (b"\0" + block).find(b"\0" + name.encode() + b"=")
        begin = at + len(name) + 1
        if at < 0 or block.find(b"\0", begin) - begin != len(value):
            raise RuntimeError(f"no room for the mark {name}")
        ctypes.memmove(start + begin, value, len(value))


def _send(control: socket.socket, message: dict[str, Any]) -> None:
    try:
        control.send(json.dumps(message).encode())
    except OSError:
        os._exit(1)  # the agent is gone, and the children go with this process


if __name__ == "__main__":
    main()
