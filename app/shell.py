"""The page around the page: Russian shell, security headers, a closed door, all as plain ASGI middleware.

Streamlit has no translations (streamlit/streamlit#1353) and its shell page says `lang="en"`. `Shell` rewrites that one
HTML page, adds our small scripts, and allows exactly the inline scripts the page itself carries, so
that an upgrade of Streamlit cannot silently break the policy.
"""

import base64
import hashlib
import os
import re
from collections.abc import Sequence

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

INLINE_SCRIPT = re.compile(rb"<script>(.*?)</script>", re.DOTALL)
HOST = re.compile(r"[A-Za-z0-9.\-\[\]:]{1,255}")
LANGUAGE = re.compile(rb"(?:^|&)lang=en(?:&|$)")
# A cached shell would come back by 304 without our script.
CACHE_HEADERS = (b"content-length", b"etag", b"last-modified", b"cache-control")


class Shell:
    """Rewrites HTML answers, sets security headers on all."""

    def __init__(self, app: ASGIApp, scripts: Sequence[str]) -> None:
        self.app = app
        self.scripts = "".join(f'<script src="{script}"></script>' for script in scripts).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        if scope["path"] == METRICS and not os.environ.get(METRICS_VARIABLE):
            await Response(status_code=404)(scope, receive, send)
            return
        start: Message | None = None
        body = b""

        async def relay(message: Message) -> None:
            nonlocal start, body
            if message["type"] == "http.response.start":
                if is_html(message):
                    start = message  # held until the body, and so the hashes of its scripts, are known
                    return
                await send({**message, "headers": [*message["headers"], *COMMON_HEADERS]})
            elif start is None or message["type"] != "http.response.body":
                await send(message)
            else:
                body += message.get("body", b"")
                if not message.get("more_body"):
                    await send_page(start, body)

        async def send_page(head: Message, page: bytes) -> None:
            language = b"en" if LANGUAGE.search(scope["query_string"]) else b"ru"
            page = page.replace(b'<html lang="en">', b'<html lang="' + language + b'">')
            page = page.replace(b"<title>Streamlit</title>", b"<title>Voronka</title>")
            policy = content_policy(page, host_of(scope))
            page = page.replace(b"</head>", self.scripts + b"</head>")
            kept = [(k, v) for k, v in head["headers"] if k.lower() not in CACHE_HEADERS]
            headers = [
                *kept,
                *COMMON_HEADERS,
                (b"content-length", str(len(page)).encode()),
                (b"cache-control", b"no-store"),
                (b"content-security-policy", policy.encode()),
            ]
            await send({**head, "headers": headers})
            await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else page})

        await self.app(without_encodings(scope) if is_page(scope) else scope, receive, relay)


METRICS, METRICS_VARIABLE = "/_stcore/metrics", "VORONKA_METRICS"
"""Where Streamlit tells anybody who asks how many sessions there are and what they hold, and what opens it."""


def is_page(scope: Scope) -> bool:
    """A path without an extension is the shell page, whichever page of the app it names."""
    return "." not in scope["path"].rpartition("/")[2]


def without_encodings(scope: Scope) -> Scope:
    """The same request without gzip: a compressed page could not be rewritten."""
    return {**scope, "headers": [(k, v) for k, v in scope["headers"] if k != b"accept-encoding"]}


COMMON_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),  # filters in our addresses are nobody's business, the CRM's included
]


def is_html(message: Message) -> bool:
    return any(k.lower() == b"content-type" and v.startswith(b"text/html") for k, v in message["headers"])


def host_of(scope: Scope) -> str:
    """The Host header if it looks like one, else an empty text."""
    host = next((v.decode("latin-1") for k, v in scope["headers"] if k == b"host"), "")
    return host if HOST.fullmatch(host) else ""


def content_policy(page: bytes, host: str) -> str:
    """A policy under which nothing is asked from another host."""
    digests = (hashlib.sha256(script).digest() for script in INLINE_SCRIPT.findall(page))
    scripts = " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)
    sockets = f"ws://{host} wss://{host}" if host else ""  # older browsers do not count sockets as 'self'
    return (
        f"default-src 'self'; script-src 'self' {scripts}; style-src 'self' 'unsafe-inline'; "
        f"img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self' {sockets}; "
        "worker-src 'self' blob:; frame-ancestors 'none'; base-uri 'self'; form-action 'self'"
    )
