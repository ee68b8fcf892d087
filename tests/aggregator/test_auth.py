"""The middleware without a server: who gets through, what is answered, which headers go out."""

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect

from aggregator.config import PageConfig
from aggregator.web.audit import AuditLog
from aggregator.web.auth import BROWSER_COOKIE, COOKIE, AuthMiddleware
from aggregator.web.passwords import Passwords
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
def guarded(users, tmp_path):
    """`guarded(app, **page)`: the middleware in front of an application, with settings of [page]."""

    def guard(app=behind, known=users, **page):
        passwords = Passwords(known) if known else None
        return AuthMiddleware(app, PageConfig(**page), passwords, AuditLog(tmp_path / "audit"))

    return guard


@pytest.fixture
def visitor(guarded):
    """A browser that has not logged in."""
    return TestClient(guarded(), follow_redirects=False)


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


def test_a_browser_that_logged_in_before_is_not_locked_out(visitor):
    """By a cookie that outlives the session, out of reach of scripts."""
    cookies = log_in(visitor).headers.get_list("set-cookie")
    assert [("max-age=31536000" in each.lower(), "httponly" in each.lower()) for each in cookies] == [
        (False, True),
        (True, True),
    ]
    visitor.post("/logout")
    known = visitor.cookies.pop(BROWSER_COOKIE)
    for _ in range(6):
        log_in(visitor, "wrong")
    assert log_in(visitor).status_code == 429

    visitor.cookies.set(BROWSER_COOKIE, known)

    assert log_in(visitor).status_code == 303


def test_a_page_that_is_open_ends_with_its_session(guarded):
    """It asks again at every update who looks."""
    asked = []

    async def keep(scope, receive, send):
        asked.append(scope["state"]["who"])
        await behind(scope, receive, send)

    visitor = TestClient(guarded(keep), follow_redirects=False)
    log_in(visitor)
    visitor.get("/")
    assert asked[0]().name == "anna"

    visitor.post("/logout")

    assert asked[0]() is None


def test_wrong_passwords_that_are_sent_at_once_are_slowed_down_too(guarded):
    """They are looked at one after the other: four, and none of the others, however many there are."""

    async def many():
        transport = httpx.ASGITransport(guarded())
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            form = {"name": "anna", "password": "wrong"}
            return await asyncio.gather(*(client.post("/login", data=form) for _ in range(20)))

    statuses = [answer.status_code for answer in asyncio.run(many())]

    assert (statuses.count(401), statuses.count(429)) == (4, 16)


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


def test_of_a_flood_of_guesses_the_audit_log_has_the_first_and_each_wait(visitor, tmp_path):
    """With how many there were; those that are not looked at any more are no lines."""
    for _ in range(20):
        log_in(visitor, "wrong")
    log_in(visitor, "wrong", name="eve\n" + 100 * "x")

    told = [
        (entry.user, entry.address, entry.action, entry.outcome) for entry in AuditLog(tmp_path / "audit").entries()
    ]

    assert told == [
        ("anna", "testclient", "login refused", "1 wrong"),
        ("anna", "testclient", "login refused", "5 wrong"),
        ("eve " + 60 * "x", "testclient", "login refused", "1 wrong"),
    ]


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


def test_with_https_cookies_travel_by_it_only(guarded):
    """And browsers are told to stay with it."""
    middleware = guarded(https_proxy=True)
    visitor = TestClient(middleware, base_url="https://testserver", follow_redirects=False)

    answer = log_in(visitor)

    assert ["secure" in each.lower() for each in answer.headers.get_list("set-cookie")] == [True, True]
    assert "strict-transport-security" in answer.headers


def test_without_users_only_this_machine_may_look(guarded):
    """By its own name, which a name that points here from outside is not."""
    middleware = guarded(known=None)

    assert TestClient(middleware, base_url="http://127.0.0.1:8080").get("/").text == "secret of local"
    assert TestClient(middleware, base_url="http://localhost").get("/").status_code == 200
    assert TestClient(middleware, base_url="http://evil.example").get("/").status_code == 403


def test_below_a_path_everything_is_below_it(guarded):
    """Login, cookies and links; what lies outside is told where the page is."""
    browser = TestClient(guarded(path="/classpulse"), follow_redirects=False)

    assert browser.get("/classpulse").headers["location"] == "/classpulse/"
    outside = browser.get("/login")
    assert (outside.status_code, "The page is at /classpulse/" in outside.text) == (404, True)
    form = browser.get("/classpulse/room/a/b?c=d", headers={"accept": "text/html"})
    assert form.headers["location"] == "/classpulse/login?next=/classpulse/room/a/b%3Fc%3Dd"
    assert 'action="/classpulse/login"' in browser.get("/classpulse/login").text
    fields = {"name": "anna", "password": PASSWORD, "next": "/room/a/b"}
    entered = browser.post("/classpulse/login", data=fields)
    assert entered.headers["location"] == "/classpulse/"
    assert all("path=/classpulse" in each.lower() for each in entered.headers.get_list("set-cookie"))
    assert browser.get("/classpulse/").text == "secret of anna"


def test_behind_an_https_proxy_nobody_comes_without_it(guarded):
    """A cookie that travels by HTTPS only would never come back: the answer says what the proxy has to send."""
    answer = TestClient(guarded(https_proxy=True), follow_redirects=False).get("/login")

    assert answer.status_code == 403
    assert "X-Forwarded-Proto: https" in answer.text
    assert "page.proxies = 127.0.0.1" in answer.text


def test_a_proxy_that_changes_the_host_is_told_to_leave_it(visitor):
    """Else every login would be taken for another site's."""
    answer = visitor.post("/login", headers={"origin": "https://school.example", "host": "127.0.0.1:8080"})

    assert answer.status_code == 403
    assert "the browser says https://school.example, but the request came to 127.0.0.1:8080" in answer.text
    assert "pass the header Host" in answer.text


def test_the_login_is_in_the_browsers_language_until_another_is_chosen(visitor):
    """The switch is a link that keeps a cookie and leads back to where it was clicked."""
    german = {"accept-language": "de-AT,de;q=0.9"}
    assert '<html lang="de"' in visitor.get("/login", headers=german).text

    chosen = visitor.get("/language/hi", headers={"referer": "http://testserver/login?next=%2Froom", **german})

    assert (chosen.status_code, chosen.headers["location"]) == (303, "/login?next=%2Froom")
    assert '<html lang="hi"' in visitor.get("/login", headers=german).text
    assert "नाम या पासवर्ड गलत है।" in log_in(visitor, "wrong").text


@pytest.mark.parametrize("referer", ["http://elsewhere/login", "http://testserver//elsewhere", "nonsense"])
def test_the_switch_leads_nowhere_else(visitor, referer):
    """Another site's link to it ends at the first page."""
    assert visitor.get("/language/de", headers={"referer": referer}).headers["location"] == "/"


def test_a_language_that_is_none_is_no_route(visitor):
    """It needs a login like any other address."""
    assert visitor.get("/language/xx").status_code == 401
