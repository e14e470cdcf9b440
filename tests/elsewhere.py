"""Runs the tests on what stands for other machines: slow, with older processors and busy cores.

The libraries use the instructions of processors of 2008, which round in another order; a loop keeps
each core busy; the number of threads and the order of the tests are drawn from a seed, which is
printed. `make test-elsewhere SEED=3` runs the same again; arguments after it are pytest's.
"""

import argparse
import os
import platform
import random
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
WITHOUT = "tests/lrsched_torch/integrations"  # the trainers, which have numbers of their own
# Ends with its parent, however that ends.
BUSY_LOOP = f"import os\nwhile os.getppid() == {os.getpid()}: pass"


def older_processor():
    """Environment variables by which libraries do without the newer instructions."""
    found = np.show_config(mode="dicts")["SIMD Extensions"].get("found", [])
    variables = {"ATEN_CPU_CAPABILITY": "default", "NPY_DISABLE_CPU_FEATURES": " ".join(found)}
    if platform.machine() in ("x86_64", "AMD64"):
        xla = f"{os.environ.get('XLA_FLAGS', '')} --xla_cpu_max_isa=SSE4_2"
        variables |= {"ONEDNN_MAX_CPU_ISA": "SSE41", "XLA_FLAGS": xla.strip()}
    return variables


def number_of_threads(count):
    names = "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"
    # Threads that wait for others would keep the cores from them.
    return {**dict.fromkeys(names, str(count)), "OMP_WAIT_POLICY": "PASSIVE"}


def order_of_tests(seed):
    """Options of pytest, also for the processes in which tests run pytest."""
    options = f"-p randomly --randomly-seed={seed} --randomly-dont-reset-seed"
    return {"PYTEST_ADDOPTS": f"{options} --hypothesis-seed={seed}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1000))
    arguments, of_pytest = parser.parse_known_args()
    threads = random.Random(arguments.seed).choice([1, 4])
    variables = {
        **older_processor(),
        **number_of_threads(threads),
        **order_of_tests(arguments.seed),
    }
    print(f"seed {arguments.seed}: {threads} thread(s), {os.cpu_count()} busy core(s)")
    print(*(f"{name}={shlex.quote(value)}" for name, value in variables.items()), flush=True)
    command = [sys.executable, "-m", "pytest", f"--ignore={WITHOUT}", *of_pytest]
    loops = [subprocess.Popen([sys.executable, "-c", BUSY_LOOP]) for _ in range(os.cpu_count())]
    try:
        # What torch has compiled for this processor with all of its instructions would not do.
        with tempfile.TemporaryDirectory() as compiled:
            variables["TORCHINDUCTOR_CACHE_DIR"] = compiled
            return subprocess.call(command, cwd=ROOT, env={**os.environ, **variables})
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
        print(f"that was seed {arguments.seed}")


if __name__ == "__main__":
    sys.exit(main())
