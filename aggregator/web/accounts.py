"""The pages on which people change their own password, and administrators the users."""

import asyncio
from collections.abc import Callable

from nicegui import ui
from starlette.requests import Request

from aggregator.web.audit import AuditLog
from aggregator.web.auth import address_of, browser_of, wait_text
from aggregator.web.language import N_, _
from aggregator.web.passwords import Passwords
from aggregator.web.style import button, heading, keep_fresh, panel, top_line, user_of
from aggregator.web.users import MIN_PASSWORD, ROLES, User, Users, UsersError

NO_USERS = N_(
    "There are no users, so only this machine can open the page. The first one comes from the command line: "
    "classpulse-aggregator user add NAME --rooms '*' --role administrator. Then start the page again."
)
_ROLES = {
    N_("viewer"): N_("viewer: sees rooms"),
    N_("teacher"): N_("teacher: also pauses cameras"),
    N_("administrator"): N_("administrator: also changes users"),
}


def account_page(passwords: Passwords, audit: AuditLog, request: Request) -> None:
    """Build the page of one's own password."""
    user = user_of(request)
    store_error = top_line(request, _("your password"))
    with ui.element("main").classes("whole"), panel(classes="form"):
        if user:
            whose = _("{name}, {role}, rooms: {rooms}")
            ui.label(whose.format(name=user.name, role=_(user.role), rooms=", ".join(user.rooms))).classes("hint")
        old, new, again = map(_password, (_("current password"), "", _("new password again")))
        submit, told = button(_("change password")), ui.label().props("role=alert")

    async def change() -> None:
        user = user_of(request)
        if user is None:
            ui.navigate.to("/login")
            return
        if new.value != again.value:
            told.set_text(_("The two new passwords differ."))
            return
        checked = await passwords.check(user.name, old.value, address_of(request), browser_of(request))
        if checked.user is None:
            told.set_text(wait_text(checked.wait_s) if checked.wait_s else _("The current password is wrong."))
            return
        problem = await _changed(lambda: passwords.users.put(user.name, new.value, user.rooms, user.role))
        if not problem:
            audit.record(user.name, address_of(request), "new password", user.name)
            ui.navigate.to("/login")
        told.set_text(problem)

    submit.on_click(change)
    keep_fresh(request, store_error, lambda _: None)


class _Editor:
    """Changes users for the administrator who looks."""

    def __init__(self, users: Users, audit: AuditLog, request: Request) -> None:
        self.users = users
        self._audit = audit
        self._request = request
        self.show = ui.refreshable(self._show)

    async def change(self, action: str, name: str, what: Callable[[User], None]) -> bool:
        """Do it, note it, and say what is wrong, if anything; whether it was done."""
        by = user_of(self._request)
        if by is None or by.role != "administrator":
            ui.navigate.to("/login")
            return False
        problem = await _changed(lambda: what(by))
        if not problem:
            self._audit.record(by.name, address_of(self._request), action, name)
            self.show.refresh()
        ui.notify(problem or _("{name}: done").format(name=name), type="negative" if problem else "positive")
        return not problem

    def _show(self) -> None:
        for user in self.users.all():
            _user_panel(self, user)


def users_page(users: Users, audit: AuditLog, request: Request) -> None:
    """Build the administrators' page."""
    store_error = top_line(request, _("users"))
    editor = _Editor(users, audit, request)
    with ui.element("main").classes("rooms"):
        _new_user_panel(editor)
        editor.show()
    keep_fresh(request, store_error, lambda _: None)


def _new_user_panel(editor: _Editor) -> None:
    with panel(classes="form"):
        heading(_("A new user"), classes="name")
        name, password = ui.input(_("name")).props("dense outlined autocapitalize=none"), _password()
        role, rooms, submit = _role("teacher"), _rooms(()), button(_("add"))

    def put(_by: User) -> None:
        if editor.users.find(name.value):
            raise UsersError(_("there is a user {name} already").format(name=repr(name.value)))
        editor.users.put(name.value, password.value, rooms.value.split(), role.value)

    async def add() -> None:
        if await editor.change("new user", name.value, put):
            for field in (name, password, rooms):
                field.set_value("")

    submit.on_click(add)


def _user_panel(editor: _Editor, user: User) -> None:
    """One user: role and rooms, a new password if one is filled in, and an end."""
    with panel(classes="form"):
        heading(user.name, classes="name")
        role, rooms, password = _role(user.role), _rooms(user.rooms), _password(_("new password; empty: as it is"))
        with ui.element("div").classes("links"):
            save, end = button(_("save")), button(_("remove"))
    save.props(f'aria-label="{_("save")} {user.name}"')
    end.props(f'aria-label="{_("remove")} {user.name}"')

    def put(by: User) -> None:
        if by.name == user.name and role.value != user.role:
            raise UsersError(_("your own role is for another administrator to change: there would soon be none"))
        editor.users.put(user.name, password.value or None, rooms.value.split(), role.value)

    def remove(by: User) -> None:
        if by.name == user.name:
            raise UsersError(_("another administrator has to remove you: there would soon be none"))
        editor.users.remove(user.name)

    async def ask() -> None:
        with ui.dialog() as dialog, ui.card().classes("panel"):
            ui.label(_("Remove {name}?").format(name=user.name)).classes("name")
            with ui.element("div").classes("links"):
                button(_("remove"), lambda: dialog.submit(True))
                button(_("keep"), lambda: dialog.submit(False))
        if await dialog:
            await editor.change("user removed", user.name, remove)

    save.on_click(lambda: editor.change("user changed", user.name, put))
    end.on_click(ask)


async def _changed(what: Callable[[], None]) -> str:
    """Do it away from the event loop, for hashing is slow; what is wrong, "" if nothing."""
    try:
        await asyncio.to_thread(what)
    except UsersError as error:
        return str(error)
    return ""


def _password(label: str = "") -> ui.input:
    new = _("new password, at least {number} characters").format(number=MIN_PASSWORD)
    return ui.input(label or new, password=True).props("dense outlined autocomplete=new-password")


def _rooms(rooms: tuple[str, ...]) -> ui.input:
    text = _("rooms: site/room, site/* or *, with spaces between")
    return ui.input(text, value=" ".join(rooms)).props("dense outlined autocapitalize=none")


def _role(role: str) -> ui.select:
    return ui.select({each: _(_ROLES[each]) for each in ROLES}, label=_("role"), value=role).props("dense outlined")
