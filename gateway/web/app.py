"""The HTTP application: assembles middlewares, routes and the objects that they share.

The composition root needs only `create_app`; `listener.py` serves the result on a socket. `routes.py` has the routes.
"""

from __future__ import annotations

import logging

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from gateway.systems.openid import OpenIdSignIn
from gateway.web import middlewares
from gateway.web.auditing import AUDIT, SIGN_INS, SignIns
from gateway.web.authentication import AUTHENTICATOR, BEARER, EMERGENCIES, OPEN_TO_ALL, authenticate
from gateway.web.authorization import authorize
from gateway.web.connections import CONNECTIONS, Connections, count_requests
from gateway.web.context import CONTEXT, Context
from gateway.web.dicomweb.frames import FRAME_INDEX
from gateway.web.dicomweb.metadata import METADATA
from gateway.web.dicomweb.resources import RENDERER, RETRIEVAL
from gateway.web.measures import MEASURES, Measures
from gateway.web.method_override import handle_method, take_method
from gateway.web.pages.environment import ENVIRONMENT, make_environment
from gateway.web.pages.errors import errors_as_pages
from gateway.web.pages.live import close_live, run_live
from gateway.web.pages.now import FIGURES, FiguresReader
from gateway.web.pages.page_cache import PAGES, PageCache
from gateway.web.pages.sign_in import OPENID
from gateway.web.receiving import SMALL_BODIES, UPLOADS, small_slots, upload_slots
from gateway.web.rest.answer_cache import ANSWERS, AnswerCache
from gateway.web.rest.archives import ARCHIVE_JOBS, ARCHIVE_SLOTS, ARCHIVES, archive_slots
from gateway.web.rest.asked import JOB_DESK
from gateway.web.rest.change_texts import CHANGES, ChangeTexts
from gateway.web.rest.changing import ANONYMIZING, MODIFICATION_JOBS
from gateway.web.rest.create import CREATION
from gateway.web.rest.deliveries import DELIVERIES
from gateway.web.rest.dimse import RETRIEVE_JOBS, STORE_JOBS
from gateway.web.rest.modalities import DIRECTORY
from gateway.web.rest.mpps import STEPS
from gateway.web.rest.peers import HTTP_STORE_JOBS, WADO_JOBS
from gateway.web.rest.queries import KEPT_QUERIES
from gateway.web.rest.reconstruct import RECONSTRUCTION
from gateway.web.rest.regroup import REGROUPING
from gateway.web.rest.removal import REMOVAL
from gateway.web.rest.resources import FINDER
from gateway.web.rest.users import ACCESS_CHANGES
from gateway.web.rest.worklists import WORKLISTS
from gateway.web.routes import OPEN, add_routes
from gateway.web.sessions import ISSUED_TOKENS
from gateway.web.viewer.viewer import VIEWER, Viewer


class _Unread(logging.Filter):
    """Shortens aiohttp's log of invalid HTTP requests to a line: their bytes may name patients."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, (HttpProcessingError, web.RequestPayloadError)):
            record.msg = f"{record.msg}: invalid HTTP ({type(error).__name__})"
            record.levelno, record.levelname = logging.WARNING, "WARNING"
            record.exc_info = None
        return True


log = logging.getLogger(__name__)
log.addFilter(_Unread())

_SERVER = {
    "access_log": None,  # would write PatientName= to the log
    "auto_decompress": False,  # `http/content_coding.py` sees where a stream ends
    "handler_cancellation": True,  # otherwise handlers outlive their clients
    "keepalive_timeout": 30.0,  # also the only limit on the time for headers
    "logger": log,
    "max_field_size": 16384,
    "max_headers": 128,
    "max_line_size": 65536,  # a list of UIDs to match is long
}


def create_app(context: Context) -> web.Application:
    """Build the application. It includes its server settings, so any runner will do."""
    app = web.Application(
        middlewares=[
            count_requests,
            middlewares.as_seen_by_client,
            take_method,
            errors_as_pages,
            middlewares.answer_errors,
            middlewares.check_host,
            authenticate,
            authorize,
            handle_method,
        ],
        handler_args=_SERVER,
    )
    app[CONTEXT] = context
    app[CONNECTIONS] = Connections()
    prefix = context.settings().http.prefix
    app[UPLOADS] = upload_slots(context.settings().dicomweb.uploads)
    app[SMALL_BODIES] = small_slots()
    use_cases = context.use_cases
    app[ACCESS_CHANGES] = use_cases.access_changes
    app[AUTHENTICATOR] = use_cases.authenticator
    app[BEARER] = use_cases.bearer
    app[EMERGENCIES] = use_cases.emergencies
    app[ISSUED_TOKENS] = use_cases.issued_tokens
    app[ANSWERS] = AnswerCache(context.database, context.settings().rest.answer_cache)
    app[PAGES] = PageCache(app[ANSWERS])
    app[CHANGES] = ChangeTexts(context.database, app[ANSWERS])
    app[AUDIT] = use_cases.audit
    app[SIGN_INS] = SignIns()
    app[ANONYMIZING] = use_cases.anonymizing
    app[ARCHIVES] = use_cases.archives
    app[ARCHIVE_JOBS] = use_cases.archive_jobs
    app[ARCHIVE_SLOTS] = archive_slots()
    app[CREATION] = use_cases.creation
    app[DELIVERIES] = use_cases.deliveries
    app[DIRECTORY] = use_cases.directory
    app[HTTP_STORE_JOBS] = use_cases.http_store_jobs
    app[JOB_DESK] = use_cases.job_desk
    app[KEPT_QUERIES] = use_cases.kept_queries
    app[FINDER] = use_cases.finder
    app[METADATA] = use_cases.metadata
    app[RENDERER] = use_cases.renderer
    app[FRAME_INDEX] = use_cases.frame_index
    app[MODIFICATION_JOBS] = use_cases.modification_jobs
    app[RECONSTRUCTION] = use_cases.reconstruction
    app[REGROUPING] = use_cases.regrouping
    app[REMOVAL] = use_cases.removal
    app[RETRIEVAL] = use_cases.retrieval
    app[RETRIEVE_JOBS] = use_cases.retrieve_jobs
    app[STORE_JOBS] = use_cases.store_jobs
    app[WADO_JOBS] = use_cases.wado_jobs
    app[STEPS] = use_cases.steps
    app[WORKLISTS] = use_cases.worklists
    app[FIGURES] = FiguresReader(context)
    app[OPENID] = OpenIdSignIn(use_cases.tokens)
    app[MEASURES] = Measures(context, app[DELIVERIES])
    app[VIEWER] = Viewer()
    app[ENVIRONMENT] = make_environment()
    app[OPEN_TO_ALL] = OPEN | {prefix + path for path in OPEN}
    app.on_response_prepare.append(middlewares.add_headers)
    app.cleanup_ctx.append(run_live)
    app.on_shutdown.append(close_live)
    add_routes(app, prefix)
    return app
