"""The middleware without a server: who gets through, what is answered, which headers go out."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from aggregator.web.auth import COOKIE, AuthMiddleware
from aggregator.web.users import Users

PASSWORD = "correct horse"  # noqa: S105 - of these tests


async def behind(scope, receive, send):
    """The application: says who looks, over http and web sockets."""
    if scope["type"] == "websocket":
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.send_text(scope["state"]["who"]().name)
        await socket.close()
    elif scope["type"] == "http":
        await PlainTextResponse(f"secret of {scope['state']['who']().name}")(scope, receive, send)


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    """A users file with anna."""
    made = Users(tmp_path_factory.mktemp("users") / "users.json")
    made.put("anna", PASSWORD, ["*"])
    return made


@pytest.fixture
def visitor(users):
    """A browser that has not logged in."""
    return TestClient(AuthMiddleware(behind, users, https=False), follow_redirects=False)


def log_in(visitor, password=PASSWORD, **fields):
    """Send the form."""
    return visitor.post("/login", data={"name": "anna", "password": password, "next": "/", **fields})


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("path", ["/", "/room/a/b", "/_nicegui/x.js", "/login/", "/Login", "//login", "/report"])
def test_an_anonymous_visitor_gets_nothing(visitor, path, method):
    """Whatever the route and method."""
    answer = visitor.request(method, f"http://testserver{path}")

    assert answer.status_code == 401
    assert "secret" not in answer.text


def test_an_anonymous_web_socket_is_closed(visitor):
    """Before it is accepted."""
    with pytest.raises(WebSocketDisconnect), visitor.websocket_connect("/anything"):
        pass


def test_a_login_opens_pages_and_web_sockets(visitor):
    """And the cookie is for this site's requests only, out of reach of scripts."""
    answer = log_in(visitor)

    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert visitor.get("/room/a/b").text == "secret of anna"
    with visitor.websocket_connect("/anything") as socket:
        assert socket.receive_text() == "anna"


def test_logging_out_closes_them_again(visitor):
    """The old cookie is worth nothing, even if it is sent again."""
    log_in(visitor)
    token = visitor.cookies[COOKIE]

    visitor.post("/logout")

    visitor.cookies.set(COOKIE, token)
    assert visitor.get("/").status_code == 401


def test_a_logout_needs_a_post(visitor):
    """A picture's address on another site logs nobody out."""
    log_in(visitor)

    assert visitor.get("/logout").status_code == 405
    assert visitor.get("/").status_code == 200


def test_after_five_wrong_passwords_the_right_one_waits_too(visitor):
    """For the name that was tried."""
    for _ in range(5):
        assert log_in(visitor, "wrong").status_code == 401

    answer = log_in(visitor)

    assert answer.status_code == 429
    assert COOKIE not in visitor.cookies


def test_an_address_waits_after_fifty_wrong_passwords_whatever_the_names(visitor):
    """A right one in between clears its name, not the address: somebody may try names between logins of others."""
    for number in range(49):
        assert log_in(visitor, "wrong", name=f"name-{number}").status_code == 401
    assert log_in(visitor).status_code == 303

    assert log_in(visitor, "wrong", name="name-50").status_code == 401

    assert log_in(visitor).status_code == 429


def test_a_page_that_is_open_ends_with_its_session(users):
    """It asks again at every update who looks."""
    asked = []

    async def keep(scope, receive, send):
        asked.append(scope["state"]["who"])
        await behind(scope, receive, send)

    visitor = TestClient(AuthMiddleware(keep, users, https=False), follow_redirects=False)
    log_in(visitor)
    visitor.get("/")
    assert asked[0]().name == "anna"

    visitor.post("/logout")

    assert asked[0]() is None


def test_wrong_passwords_that_are_sent_at_once_are_slowed_down_too(users):
    """They are looked at one after the other: five, and none of the others, however many wait."""

    async def many():
        transport = httpx.ASGITransport(AuthMiddleware(behind, users, https=False))
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            form = {"name": "anna", "password": "wrong"}
            return await asyncio.gather(*(client.post("/login", data=form) for _ in range(20)))

    statuses = [answer.status_code for answer in asyncio.run(many())]

    assert (statuses.count(401), statuses.count(429)) == (5, 15)


def test_every_login_and_refusal_is_one_line_for_the_auditor(visitor, caplog):
    """Who, from where, why; a name cannot forge a line of its own."""
    with caplog.at_level("INFO", "classpulse.audit"):
        log_in(visitor)
        log_in(visitor, "wrong", name="eve\nINFO login of anna")

    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert caplog.messages[0] == "login name='anna' address=testclient"
    assert caplog.messages[1].startswith("login refused name='eve\\nINFO login of anna' address")
    assert caplog.messages[1].endswith("reason=password")
    assert not any("\n" in message or PASSWORD in message for message in caplog.messages)


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://testserver.evil.example"])
def test_what_another_site_sends_is_refused(visitor, origin):
    """Forms and web sockets of another origin, with a valid session or not."""
    log_in(visitor)

    assert visitor.post("/login", headers={"origin": origin}).status_code == 403
    with (
        pytest.raises(WebSocketDisconnect),
        visitor.websocket_connect("/anything", headers={"origin": origin}),
    ):
        pass


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "x", "/a\nb"])
def test_a_login_leads_nowhere_else(visitor, target):
    """A prepared link to the login cannot send people to another site."""
    assert log_in(visitor, next=target).headers["location"] == "/"


def test_the_form_escapes_what_it_is_given(visitor):
    """HTML in the address stays text."""
    answer = visitor.get("/login", params={"next": '/"><script>alert(1)</script>'})

    assert "<script>alert" not in answer.text


@pytest.mark.parametrize("cookie", ["", "x", '"', "classpulse=", "classpulse=;;=;", "\x01"])
def test_broken_cookies_are_no_session(visitor, cookie):
    """And no error."""
    assert visitor.get("/", headers={"cookie": cookie}).status_code == 401


def test_a_large_form_is_not_read(visitor):
    """It is answered like an empty one."""
    answer = log_in(visitor, filler="x" * 100_000)

    assert answer.status_code == 401
    assert COOKIE not in visitor.cookies


@pytest.mark.parametrize("path", ["/", "/login"])
def test_headers_protect_every_answer(visitor, path):
    """Frames, sniffing, caches."""
    headers = visitor.get(path).headers

    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["x-content-type-options"] == "nosniff"


def test_with_https_cookies_travel_by_it_only(users):
    """And browsers are told to stay with it."""
    middleware = AuthMiddleware(behind, users, https=True)
    visitor = TestClient(middleware, base_url="https://testserver", follow_redirects=False)

    answer = log_in(visitor)

    assert "secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers


def test_without_users_only_this_machine_may_look():
    """By its own name, which a name that points here from outside is not."""
    middleware = AuthMiddleware(behind, None, https=False)

    assert TestClient(middleware, base_url="http://127.0.0.1:8080").get("/").text == "secret of local"
    assert TestClient(middleware, base_url="http://localhost").get("/").status_code == 200
    assert TestClient(middleware, base_url="http://evil.example").get("/").status_code == 403
