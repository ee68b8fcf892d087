"""`classpulse-aggregator user add | remove | list`: who may open the page."""

import argparse
import getpass
import sys

from aggregator.config import AggregatorConfig
from aggregator.web.users import ROLES, Users, UsersError
from service.config import load


def configure(parser: argparse.ArgumentParser) -> None:
    """Give the command its arguments."""
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")
    adding = actions.add_parser("add", help="add a user, or give one a new password, rooms and role")
    adding.add_argument("name")
    adding.add_argument(
        "--rooms", nargs="+", required=True, metavar="ROOM", help="site/room, site/* for a whole site, '*' for all"
    )
    adding.add_argument("--role", choices=ROLES, default="teacher", help="default: teacher, who may pause cameras")
    actions.add_parser("remove", help="remove a user").add_argument("name")
    actions.add_parser("list", help="all users, their roles and rooms")


def run(arguments: argparse.Namespace) -> int:
    """Do it; its exit code."""
    users = Users(load(arguments.config, AggregatorConfig).page.users)
    if arguments.action == "add":
        users.put(arguments.name, _password(), arguments.rooms, arguments.role)
    elif arguments.action == "remove":
        users.remove(arguments.name)
    else:
        for user in users.all():
            print(f"{user.name}: {user.role}, {', '.join(user.rooms)}")
    return 0


def _password() -> str:
    """From the terminal, twice; or the first line of a pipe."""
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("password: ")
    if getpass.getpass("again: ") != password:
        raise UsersError("the two passwords differ")
    return password
