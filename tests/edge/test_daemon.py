"""What of the daemon needs no broker; tests/system has the rest."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAUSED_AT_THE_START = """
import argparse, os, pathlib, signal, sys
from contract.card import ModelCardError
from edge import daemon

def pipeline(config, record):
    os.kill(os.getpid(), signal.SIGUSR1)
    raise ModelCardError("no model")

arguments = argparse.Namespace(config=pathlib.Path(sys.argv[1]), ledger=None)
sys.exit(daemon.run(arguments, daemon.Eyes(pipeline=pipeline)))
"""


def test_a_pause_ordered_by_signal_while_the_model_loads_is_kept(edge_toml, tmp_path):
    """The seconds of the start are no gap in which an order is lost, or ends the daemon."""
    config = edge_toml("usb:97")

    ended = subprocess.run([sys.executable, "-c", PAUSED_AT_THE_START, config], cwd=ROOT, check=False)

    assert ended.returncode == 65
    assert (tmp_path / "state" / "pause").read_text() == "signal\n"
