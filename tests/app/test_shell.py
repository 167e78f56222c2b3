"""The page around the page: language, security headers, and gzip that must not hide it."""

import asyncio

from app.shell import Shell

PAGE = b'<html lang="en"><head><title>Streamlit</title><script>a = 1</script></head></html>'


def answer(path="/calls", query=b"", body=PAGE, kind=b"text/html; charset=utf-8", headers=()):
    """What a browser gets for one request, and the headers the app behind the shell saw."""
    sent, seen = [], {}

    async def app(scope, receive, send):
        seen["headers"] = dict(scope["headers"])
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind), (b"etag", b"x")]}
        )
        await send({"type": "http.response.body", "body": body[:10], "more_body": True})
        await send({"type": "http.response.body", "body": body[10:]})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": query, "headers": list(headers)}
    asyncio.run(Shell(app, scripts=("/app/static/app.js", "/app/static/ru.js"))(scope, None, send))
    return dict(sent[0]["headers"]), b"".join(message.get("body", b"") for message in sent[1:]), seen.get("headers")


def test_the_shell_is_russian_and_carries_the_dictionary():
    headers, body, _ = answer()
    assert b'<html lang="ru">' in body
    assert b'<script src="/app/static/app.js"></script><script src="/app/static/ru.js"></script></head>' in body
    assert headers[b"content-length"] == str(len(body)).encode()
    assert b"etag" not in headers


def test_the_address_asks_for_english():
    assert b'<html lang="en">' in answer(query=b"period=7&lang=en")[1]


def test_the_policy_allows_the_inline_script_and_nothing_from_outside():
    headers = answer(headers=[(b"host", b"voronka.local:8501")])[0]
    policy = headers[b"content-security-policy"].decode()
    assert "script-src 'self' 'sha256-" in policy
    assert "unsafe-eval" not in policy
    assert "ws://voronka.local:8501" in policy
    assert "http:" not in policy


def test_a_strange_host_does_not_get_into_the_policy():
    policy = answer(headers=[(b"host", b"evil; script-src *")])[0][b"content-security-policy"].decode()
    assert "evil" not in policy


def test_pages_are_asked_for_uncompressed_and_scripts_are_not():
    gzip = [(b"accept-encoding", b"gzip")]
    assert b"accept-encoding" not in answer(headers=gzip)[2]
    assert b"accept-encoding" in answer(path="/static/js/index.js", headers=gzip)[2]


def test_other_answers_pass_through_as_they_are():
    headers, body, _ = answer(path="/static/x.js", body=b"let a = '</head>'", kind=b"text/javascript")
    assert body == b"let a = '</head>'"
    assert headers[b"x-content-type-options"] == b"nosniff"


def test_what_the_server_counts_about_itself_is_closed_until_somebody_opens_it(monkeypatch):
    assert answer(path="/_stcore/metrics", kind=b"text/plain")[1] == b""
    monkeypatch.setenv("VORONKA_METRICS", "1")
    assert answer(path="/_stcore/metrics", kind=b"text/plain")[1] == PAGE
