"""Milliseconds per face of the emotion model: int8 and float, each runtime, one face and sixteen, one thread.

`.venv/bin/python -m benchmarks.model --python .venv/bin/python --python .venv-litert/bin/python`
Every pair of runtime and file is measured in a process of its own, in turns, so that what else the machine does spreads
over all of them. Ratios of one run are worth more than numbers of two.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import machine
from contract.card import INPUT_SIZE, read
from convert.verify import runtime_name
from edge.config import RuntimeConfig
from edge.vision.runtime import open_interpreter

BATCHES = (1, 16)
_FLOAT = (
    "import sys; from pathlib import Path; from convert.quantize import float_model; "
    "from train.model import load_classifier; "
    "Path(sys.argv[2]).write_bytes(float_model(load_classifier(Path(sys.argv[1]))))"
)


def measure(model: Path, seconds: float) -> dict[str, Any]:
    """Median milliseconds per face by batch, and this process's peak memory in MiB, one thread."""
    interpreter = open_interpreter(model.read_bytes(), RuntimeConfig())
    taken = interpreter.get_input_details()[0]
    medians = {}
    for batch in BATCHES:
        interpreter.resize_tensor_input(taken["index"], [batch, INPUT_SIZE, INPUT_SIZE, 1])
        interpreter.allocate_tensors()
        faces = np.random.default_rng(0).integers(-128, 128, (batch, INPUT_SIZE, INPUT_SIZE, 1))
        interpreter.set_tensor(taken["index"], faces.astype(taken["dtype"]))
        interpreter.invoke()
        medians[str(batch)] = _median_ms(interpreter.invoke, seconds / len(BATCHES)) / batch
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"runtime": runtime_name(RuntimeConfig()), "ms": medians, "rss_mib": peak_mib}


def main() -> None:
    """Measure in children and print a table with ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, default=Path("models/emotion_int8.tflite"))
    parser.add_argument("--python", type=Path, action="append", help="a device's environment; repeatable")
    parser.add_argument("--train-python", type=Path, default=Path(".venv-train/bin/python"), help="for the float file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="per round, runtime and file")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(measure(arguments.model, arguments.seconds)))
        return
    card = read(arguments.model.with_suffix(".json")).document
    print(
        f"{machine.describe()}; "
        f"{arguments.model.name} {card['sha256'][:8]}: {card['macs'] / 1e6:.1f} M MACs, "
        f"{card['parameters']} parameters, {card['bytes'] / 1024:.0f} KiB"
    )
    with tempfile.TemporaryDirectory() as folder:
        files = {"int8": arguments.model}
        if arguments.train_python.exists():
            files["float"] = _float_file(arguments, Path(folder))
        pythons = arguments.python or [Path(sys.executable)]
        results = [[_child(python, file, arguments.seconds) for python in pythons for file in files.values()]
                   for _ in range(arguments.rounds)]  # fmt: skip
        _print([name for _ in pythons for name in files], results)


def _median_ms(work: Callable[[], object], seconds: float) -> float:
    spans: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until or len(spans) < 10:
        began = time.perf_counter()
        work()
        spans.append(time.perf_counter() - began)
    return float(np.median(spans) * 1000)


def _float_file(arguments: argparse.Namespace, folder: Path) -> Path:
    keras_file, path = arguments.model.with_name("emotion.keras"), folder / "emotion_float.tflite"
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run(
        [arguments.train_python, "-c", _FLOAT, keras_file, path], check=True, env=quiet, stderr=subprocess.DEVNULL
    )
    return path


def _child(python: Path, model: Path, seconds: float) -> dict[str, Any]:
    command = [str(python), "-m", "benchmarks.model", "--child", "--model", str(model), "--seconds", str(seconds)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return dict(json.loads(done.stdout))


def _print(names: list[str], rounds: list[list[dict]]) -> None:
    """The best round of each: the others had company."""
    print(
        f"{'runtime':28}{'file':>7}" + "".join(f"{f'ms, batch {batch}':>14}" for batch in BATCHES) + "  ratio  RSS MiB"
    )
    first_ms = min(run[0]["ms"]["1"] for run in rounds)
    for index, name in enumerate(names):
        rows = [run[index] for run in rounds]
        best_ms = [min(row["ms"][str(batch)] for row in rows) for batch in BATCHES]
        spans = "".join(f"{span:14.2f}" for span in best_ms)
        rss_mib = max(row["rss_mib"] for row in rows)
        print(f"{rows[0]['runtime']:28}{name:>7}{spans}{best_ms[0] / first_ms:7.2f}{rss_mib:9.0f}")


if __name__ == "__main__":
    main()
