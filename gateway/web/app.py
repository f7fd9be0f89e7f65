"""The HTTP application: middlewares, routes and what lives as long as they do, put together.

`create_app` is all that the composition root needs; `listener.py` puts the result on a socket. What is answered where
is in `routes.py`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.access.users import Authenticator
from gateway.archive.anonymizing import Anonymizing
from gateway.archive.deliveries.control import Deliveries
from gateway.archive.metadata import MetadataCache
from gateway.archive.performed import PerformedSteps
from gateway.archive.pictures import Pictures
from gateway.archive.pixels import PixelPlaces
from gateway.archive.remove import Removal
from gateway.archive.retrieve import Retrieval
from gateway.archive.worklist import Worklists
from gateway.imaging.cache import FrameCache
from gateway.storage.layout import Layout
from gateway.web import middlewares
from gateway.web.context import CONTEXT, Context
from gateway.web.dicomweb.frames import PLACES
from gateway.web.dicomweb.metadata import METADATA
from gateway.web.dicomweb.resources import PICTURES, RETRIEVAL
from gateway.web.ohif.viewer import VIEWER, Viewer
from gateway.web.receiving import TURNS, Turns
from gateway.web.rest.changing import ANONYMIZING
from gateway.web.rest.deliveries import DELIVERIES
from gateway.web.rest.mpps import STEPS
from gateway.web.rest.removal import REMOVAL
from gateway.web.rest.worklists import WORKLISTS
from gateway.web.routes import OPEN, add_routes
from gateway.web.ui.environment import ENVIRONMENT, make_environment
from gateway.web.ui.live import close_live, run_live


class _Unread(logging.Filter):
    """What aiohttp logs of requests that are no HTTP, in a line: their bytes may name patients."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg = f"{record.msg}: it cannot be read ({type(error).__name__}) and is answered {error.code}"
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = None
        return True


log = logging.getLogger(__name__)
log.addFilter(_Unread())

_SERVER = {
    "access_log": None,  # it would write PatientName= into the log
    "handler_cancellation": True,  # or handlers outlive their clients
    "keepalive_timeout": 30.0,  # also the only limit on how long headers may take
    "logger": log,
    "max_field_size": 16384,
    "max_headers": 128,
    "max_line_size": 65536,  # a list of UIDs to match is long
}


def create_app(context: Context) -> web.Application:
    """The application. It brings its server settings along, so any runner will do."""
    app = web.Application(
        middlewares=[
            middlewares.as_seen_by_client,
            middlewares.answer_errors,
            middlewares.check_host,
            middlewares.authenticate,
        ],
        handler_args=_SERVER,
    )
    app[CONTEXT] = context
    prefix = context.settings().http.prefix
    app[WORKLISTS] = Worklists(context.database, context.settings)
    app[REMOVAL] = Removal(context.ingest)
    app[TURNS] = Turns(context.settings().dicomweb.uploads)
    app[STEPS] = PerformedSteps(context.database, context.settings, wake=context.wake)
    app[DELIVERIES] = Deliveries(context.database, context.settings, wake=context.wake)
    app[VIEWER] = Viewer()
    app[ENVIRONMENT] = make_environment()
    app[middlewares.OPEN_TO_ALL] = OPEN | {prefix + path for path in OPEN}
    app.on_response_prepare.append(middlewares.add_headers)
    app.cleanup_ctx.append(_threads)
    app.cleanup_ctx.append(run_live)
    app.on_shutdown.append(close_live)
    add_routes(app, prefix)
    return app


async def _threads(app: web.Application) -> AsyncIterator[None]:
    """Threads for reading files, decoding, encoding and rendering, and checking passwords."""
    context = app[CONTEXT]
    settings = context.settings()
    readers = ThreadPoolExecutor(settings.http.read_threads, thread_name_prefix="read")
    painters = ThreadPoolExecutor(settings.imaging.threads, thread_name_prefix="picture")
    authenticator = app[middlewares.AUTHENTICATOR] = Authenticator()
    folder = Layout(Path(settings.storage.path)).spool
    retrieval = app[RETRIEVAL] = Retrieval(
        context.database, context.store, readers, painters, folder, workers=context.workers
    )
    app[ANONYMIZING] = Anonymizing(context.database, retrieval, context.ingest)
    app[PICTURES] = Pictures(context.database, context.store, painters, FrameCache(settings.imaging.cache_memory))
    app[PLACES] = PixelPlaces()
    app[METADATA] = MetadataCache(context.database, retrieval, lambda: context.settings().http.metadata_cache)
    yield
    authenticator.close()
    for threads in (readers, painters):
        threads.shutdown(wait=False, cancel_futures=True)
