"""The server: the Streamlit app inside our middleware, a readiness route, warm-up. Start it as `app.launch` says."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import streamlit as st
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from app import data
from app.i18n import _
from app.page import find_pages
from app.shell import Shell

HERE = Path(__file__).parent
log = logging.getLogger("voronka.app")


async def ready(_request: Request) -> JSONResponse:
    """200 when the dashboard can answer: with which generation, or that nothing has been published yet."""
    try:
        publication = await asyncio.to_thread(data.current)
    except data.BrokenPublication:
        return JSONResponse({"status": "broken"}, status_code=503)
    return JSONResponse({"status": "ok", "generation": publication.generation if publication else None})


async def home(request: Request) -> RedirectResponse:
    """The morning page lives at the root; Streamlit knows no other address of a default page."""
    query = request.url.query
    return RedirectResponse(f"./?{query}" if query else "./")


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[None]:
    """Compute the answers pages are about before somebody asks, at start and after each publication."""
    warming = asyncio.create_task(keep_warm())
    yield
    warming.cancel()
    with suppress(asyncio.CancelledError):
        await warming


async def keep_warm() -> None:
    warmed: str | None = None
    while True:
        warmed = await asyncio.to_thread(warm_up, warmed)
        await asyncio.sleep(LOOK_EVERY_S)


LOOK_EVERY_S = 30


def warm_up(warmed: str | None) -> str | None:
    """Warm the caches for the present generation unless it is `warmed`; return which one is warm."""
    try:
        publication = data.current()
        if publication is None or publication.generation == warmed:
            return warmed
        asked = {page.metric_id: page.is_compared for page in find_pages() if page.metric_id}
        data.warm_up(
            publication, asked, compared=[metric_id for metric_id, is_compared in asked.items() if is_compared]
        )
    except Exception:  # whatever it is, the page will meet it again and say it to the viewer
        log.warning("warm-up failed", exc_info=True)
        return warmed
    if warmed is None:
        gc.collect()
        gc.freeze()  # modules and code live as long as the process: the collector need not look at them
    return publication.generation


def say_it_failed(error: Exception) -> bool:
    """A sentence instead of a traceback; the traceback goes to the log."""
    log.error("page failed", exc_info=error)
    st.error(
        _("This page could not be built. The details are in the server's log; the other pages keep working."),
        icon=":material/error:",
    )
    return True


app = st.App(
    HERE / "main.py",
    middleware=[Middleware(Shell, scripts=("/app/static/app.js", "/app/static/ru.js"))],
    routes=[Route("/ready", ready), Route("/brief", home)],
    lifespan=lifespan,
    on_script_error=say_it_failed,
)
