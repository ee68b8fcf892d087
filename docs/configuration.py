"""Write docs/configuration.md: `make docs`."""

from pathlib import Path

from aggregator.config import AggregatorConfig
from edge.config import EdgeConfig
from service.reference import document

PATH = Path(__file__).with_name("configuration.md")


def text() -> str:
    """What the file should hold."""
    return f"""# Configuration

Written by `make docs` from the classes that read the files; do not edit. `classpulse-edge check --example` and
`classpulse-aggregator check --example` print the same as files to begin with. An unknown key, a missing one or a value
that is not allowed stops the start; all mistakes of a file are told at once.

## edge.toml

{document(EdgeConfig)}
## aggregator.toml

{document(AggregatorConfig)}"""


if __name__ == "__main__":
    PATH.write_text(text())
