"""`classpulse-aggregator user add | remove | list`: who may open the page."""

import argparse
import getpass
import sys

from aggregator.config import AggregatorConfig
from aggregator.web.users import Users, UsersError
from service.config import load


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    adding = actions.add_parser("add", help="add a user, or give one a new password and rooms; asks for the password")
    adding.add_argument("name")
    adding.add_argument(
        "--rooms", nargs="+", required=True, metavar="ROOM", help="site/room, site/* for a whole site, '*' for all"
    )
    actions.add_parser("remove", help="remove a user").add_argument("name")
    actions.add_parser("list", help="all users and their rooms")


def run(arguments: argparse.Namespace) -> int:
    """Do it; its exit code."""
    users = Users(load(arguments.config, AggregatorConfig).page.users)
    if arguments.action == "add":
        users.put(arguments.name, _password(), arguments.rooms)
    elif arguments.action == "remove":
        users.remove(arguments.name)
    else:
        for name, rooms in users.names().items():
            print(f"{name}: {', '.join(rooms)}")
    return 0


def _password() -> str:
    """From the terminal, twice; or the first line of a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("password: ")
    if getpass.getpass("again: ") != password:
        raise UsersError("the two passwords differ")
    return password
