import os
import subprocess
import sys

import pytest

from emow2v.engines.openvino import openvino_core

INTERRUPTED = """
import gc, os, signal, time
import numpy as np
import emow2v
second = np.zeros((1, 16000), np.float32)
models = []
for _ in range(3):
    models.append(emow2v.load("lite", engine="openvino"))
    models[-1].run(second)
    if len(models) > 1:  # the older first
        del models[0]
        gc.collect()
models.clear()
gc.collect()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGTERM)
time.sleep(0.1)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signals")
def test_a_signal_is_handled_after_models_were_freed_in_the_order_they_were_loaded() -> None:
    """OpenVINO unmapped the stack of signal handlers, and the process ended by a segmentation fault."""
    result = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (0, "handled\n"), result.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_child_process_has_a_core_of_its_own() -> None:
    mine = openvino_core()
    assert openvino_core() is mine
    child = os.fork()
    if not child:  # threads of the parent's core are not here
        os._exit(0 if openvino_core() is not mine else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


AFFINITY = """
import os
import numpy as np
import emow2v
everywhere = os.sched_getaffinity(0)
for name in ("lite", "lite-frames"):
    for threads in (1, 0):
        model = emow2v.load(name, engine="openvino", threads=threads)
        model.predict(np.zeros(32000, np.float32), 16000).load()
        for thread in map(int, os.listdir("/proc/self/task")):
            try:
                allowed = os.sched_getaffinity(thread)
            except ProcessLookupError:
                continue  # it has ended
            assert allowed == everywhere, (name, threads)
print("free")
"""


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="needs Linux, which says where threads may run")
def test_threads_may_run_on_every_core() -> None:
    """Else the engines of several processes, each with one thread, would share the first core."""
    done = subprocess.run([sys.executable, "-c", AFFINITY], capture_output=True, text=True, timeout=300)
    assert done.stdout == "free\n", done.stderr
