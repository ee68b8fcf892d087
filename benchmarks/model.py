"""Milliseconds of CPU per face of the emotion model: int8 and float, each runtime, one face and sixteen, one thread.

`.venv/bin/python -m benchmarks.model --model models/emotion_int8.tflite --model runs/mine/int8/emotion_int8.tflite`
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
from edge.vision.runtime import installed, open_interpreter

BATCHES = (1, 16)
_FLOAT = (
    "import sys; from pathlib import Path; from convert.quantize import float_model; "
    "from train.model import load_classifier; "
    "Path(sys.argv[2]).write_bytes(float_model(load_classifier(Path(sys.argv[1]))))"
)


def measure(model: Path, package: Any, seconds: float) -> dict[str, Any]:
    """Median milliseconds of CPU per face by batch, and this process's peak memory in MiB, one thread."""
    config = RuntimeConfig(package=package, threads=1)
    interpreter = open_interpreter(model.read_bytes(), config)
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
    return {"runtime": runtime_name(config), "ms": medians, "rss_mib": peak_mib}


def main() -> None:
    """Measure in children and print a table with ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, action="append", help="with card and emotion.keras beside it; repeatable")
    parser.add_argument("--train-python", type=Path, default=Path(".venv-train/bin/python"), help="for the float file")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="per round, runtime and file")
    parser.add_argument("--child", metavar="PACKAGE", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    models = arguments.model or [Path("models/emotion_int8.tflite")]
    if arguments.child:
        print(json.dumps(measure(models[0], arguments.child, arguments.seconds)))
        return
    print(machine.describe())
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for index, model in enumerate(models):
            card = read(model.with_suffix(".json")).document
            name = f"{card['architecture']} {card['sha256'][:8]}"
            size = f"{card['macs'] / 1e6:.1f} M MACs, {card['parameters']} parameters, {card['bytes'] / 1024:.0f} KiB"
            print(f"{name}: {size}")
            files[f"{name} int8"] = model
            if arguments.train_python.exists():
                files[f"{name} float"] = _float_file(arguments.train_python, model, Path(folder, f"{index}.tflite"))
        pairs = [(package, name) for package in installed() for name in files]
        results = [[_child(package, files[name], arguments.seconds) for package, name in pairs]
                   for _ in range(arguments.rounds)]  # fmt: skip
        _print([name for _, name in pairs], results)


def _median_ms(work: Callable[[], object], seconds: float) -> float:
    spans: list[float] = []
    until = time.process_time() + seconds
    while time.process_time() < until or len(spans) < 10:
        began = time.process_time()
        work()
        spans.append(time.process_time() - began)
    return float(np.median(spans) * 1000)


def _float_file(python: Path, model: Path, path: Path) -> Path:
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [str(python), "-c", _FLOAT, str(model.with_name("emotion.keras")), str(path)]
    subprocess.run(command, check=True, env=quiet, stderr=subprocess.DEVNULL)
    return path


def _child(package: str, model: Path, seconds: float) -> dict[str, Any]:
    arguments = ["--child", package, "--model", str(model), "--seconds", str(seconds)]
    command = [sys.executable, "-m", "benchmarks.model", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return dict(json.loads(done.stdout))


def _print(names: list[str], rounds: list[list[dict]]) -> None:
    """The best round of each: the others had company."""
    print(
        f"{'runtime':28}{'file':>24}" + "".join(f"{f'ms, batch {batch}':>14}" for batch in BATCHES) + "  ratio  RSS MiB"
    )
    first_ms = min(run[0]["ms"]["1"] for run in rounds)
    for index, name in enumerate(names):
        rows = [run[index] for run in rounds]
        best_ms = [min(row["ms"][str(batch)] for row in rows) for batch in BATCHES]
        spans = "".join(f"{span:14.2f}" for span in best_ms)
        rss_mib = max(row["rss_mib"] for row in rows)
        print(f"{rows[0]['runtime']:28}{name:>24}{spans}{best_ms[0] / first_ms:7.2f}{rss_mib:9.0f}")


if __name__ == "__main__":
    main()
