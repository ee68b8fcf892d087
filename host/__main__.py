"""The command `classpulse`."""

import os
import sys
from collections.abc import Sequence

from host import system
from host.files import AGGREGATOR, EDGE
from service import cli
from service.config import ConfigError

SERVICES = {"edge": EDGE, "aggregator": AGGREGATOR}
"""`classpulse edge check` is `classpulse-edge check`, run as the service's user with its folders and passwords."""
PROGRAM = cli.Program(
    name="classpulse",
    description="Set this host up and see how it is. `classpulse edge …` and `classpulse aggregator …` run the\n"
    "services' own commands as their users, such as `sudo classpulse aggregator user add anna --rooms '*'`.",
    commands={
        "setup": ("host.setup", "ask what is needed, write the configuration, start the services"),
        "status": ("host.status", "what runs, since when, and what is wrong"),
    },
    exit_status={ConfigError: os.EX_CONFIG, cli.UsageError: os.EX_USAGE, system.HostError: 1, OSError: os.EX_IOERR},
)


def main(words: Sequence[str] | None = None) -> int:
    """Run one command; its exit status."""
    words = list(sys.argv[1:] if words is None else words)
    try:
        if words[:1] and words[0] in SERVICES:
            return _service(SERVICES[words[0]], words[1:])
        return cli.main(PROGRAM, words)
    except KeyboardInterrupt:
        print("\nclasspulse: interrupted; `sudo classpulse setup` begins again", file=sys.stderr)
        return 130


def _service(unit: str, words: list[str]) -> int:
    if not system.has(unit):
        print(f"classpulse: {unit} is not installed here (package {unit}, or classpulse for both)", file=sys.stderr)
        return os.EX_USAGE
    if os.geteuid():
        print(f"classpulse: sudo is needed, to become {system.USERS[unit]}", file=sys.stderr)
        return os.EX_USAGE
    return system.become(unit, words)


if __name__ == "__main__":
    sys.exit(main())
