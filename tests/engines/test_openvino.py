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
