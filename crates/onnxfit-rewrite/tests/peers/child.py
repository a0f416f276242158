"""Runs a program and tells what it took.

A process begins with the peak of the process that started it, so a small one stands between: what
is told is the program's own largest resident set (getrusage), not that of a caller with models in it.
"""

import json
import subprocess
import sys
from typing import NamedTuple

LAUNCH = """
import json, os, resource, subprocess, sys, time
timeout = float(sys.argv[1])
begun = time.perf_counter()
child = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
try:
    said = child.communicate(timeout=timeout)[1]
    why = "exit %d: %s" % (child.returncode, said.decode(errors="replace").strip().splitlines()[-1:]) if child.returncode else ""
except subprocess.TimeoutExpired:
    os.killpg(child.pid, 9)
    child.communicate()
    why = "more than %g s" % timeout
seconds = time.perf_counter() - begun
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(json.dumps([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, why]))
"""


class Took(NamedTuple):
    """Seconds on the clock and of the processor, the largest resident set of any of its processes."""

    seconds: float
    cpu: float
    resident_bytes: int
    why: str


def measure(arguments, timeout=3600):
    """Runs a program; `why` says why it failed, if it did."""
    command = [sys.executable, "-c", LAUNCH, str(timeout), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Took(*json.loads(done.stdout))
