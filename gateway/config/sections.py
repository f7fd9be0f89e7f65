"""The structure of every section of the settings, and its defaults.

Every limit of the gateway is named here, with its unit. `checks.py` has the relations between fields.
"""

from __future__ import annotations

import typing
from typing import Literal

from gateway.config.audit import Audit
from gateway.config.base import GiB, KiB, MiB, Section, Size
from gateway.config.destinations import Destination
from gateway.config.edits import Changes
from gateway.config.roles import Role
from gateway.config.routes import Rule
from gateway.config.sign_in import BreakGlass, Oidc, Tokens, User
from gateway.config.tenants import Tenant
from gateway.config.viewers import ExternalViewer

Service = Literal["echo", "store", "find", "move", "get", "commit", "worklist", "mpps"]
SERVICES: tuple[Service, ...] = typing.get_args(Service)


class Modality(Section, frozen=True):
    """A known remote application entity: it may call the gateway and, with a port, can be called."""

    aet: str
    host: str = ""
    """The origin of its calls: an address, a network (`10.1.0.0/16`), or a name, resolved afresh; empty: anywhere. To
    be called it needs an address or a name."""
    port: int = 0
    """The port that it listens on; 0: it cannot be called."""
    allow: tuple[Service, ...] = SERVICES
    """The services that it may request."""
    roles: tuple[str, ...] = ()
    """Roles, by which it may request fewer services, and finds only studies that they show; none: all studies."""
    tenant: str = ""
    """The tenant that may use it, and whose people see it; `*`: every one. Empty: none, only those above them."""
    our_aet: str = ""
    """Our AE title when we call it; empty: `dicom.aet`."""
    tls: bool = False
    """We call it over TLS, and it must call us on `dicom.tls_port`."""
    tls_name: str = ""
    """Name (common name or subject alternative name) that its certificate must carry; empty: when we call it, its
    host; `*`: any name that `dicom.tls_ca` signed."""
    user_identity: Literal["", "ignored", "optional", "required"] = ""
    """Treatment of this modality's user identity, like `dicom.user_identity`; empty: the value of that setting."""
    identity_name: str = ""
    """User name that we present when we call it (PS3.7 D.3.3.7); empty: none."""
    identity_password: str = ""
    """Password of that user. Without TLS anybody on the way can read it."""
    identity_token_file: str = ""
    """File with the JSON Web Token to present instead, read again for each association."""
    identity_confirmed: bool = False
    """Use an association only if it confirms that it has checked the user; many that ignore the user say nothing."""
    association_timeout: float | None = None
    """Seconds for the connection and the answer to our association request. Unset: as in `[dicom]`, like the others."""
    response_timeout: float | None = None
    """Seconds for the answer to a message or a release of ours."""
    idle_timeout: float | None = None
    """Seconds of silence on an association that it opened. 0: no limit."""


class Dicom(Section, frozen=True):
    """The DICOM listener (PS3.8) and what it accepts."""

    aet: str = "GATEWAY"
    aets: tuple[str, ...] = ()
    """Further AE titles of the gateway."""
    host: str = "127.0.0.1"
    port: int | Literal["off"] | None = None
    """Port for DICOM without TLS; 0 lets the system choose, and the log names the choice. Unset: 4242, or none if
    `tls_port` is set; `"off"`: none."""
    allow_any_caller: bool = False
    """Accept associations from callers that are no configured modality. Otherwise they are rejected (1/1/3), unless no
    modality is configured and the listener is on loopback."""
    any_caller_may: tuple[Service, ...] = ("echo", "store")
    """The services that `allow_any_caller` allows such callers."""
    check_called_aet: bool = False
    """Reject (1/1/7) an association that calls us by another name than `aet` or one of `aets`."""
    tls_port: int | None = None
    """Port for DICOM over TLS; 0 lets the system choose. Unset: none. Beside it the plain port listens only if `port`
    is set too."""
    tls_certificate: str = ""
    """PEM file with our certificate chain, for incoming and outgoing TLS."""
    tls_key: str = ""
    """Private key of that certificate, PEM without a passphrase. All three files are read again when they change."""
    tls_ca: str = ""
    """PEM file with the trusted certificate authorities; empty: the system's, and no client certificates."""
    tls_client_certificates: Literal["none", "optional", "required"] = "none"
    """Whether callers over TLS must present a certificate signed by `tls_ca`."""
    tls_bind_aet: bool = False
    """The certificate must carry the calling AE title, or the `tls_name` of its modality, as one of its names. If there
    is a plain port, each modality then needs `tls = true`: otherwise any caller with its AE title is admitted there."""
    user_identity: Literal["ignored", "optional", "required"] = "ignored"
    """User identity (PS3.7 D.3.3.7) against `[[http.users]]` or `[tokens]`: checked if offered (`optional`), or
    required."""
    user_identity_types: tuple[Literal["name", "password", "token"], ...] = ("password",)
    """Accepted kinds of identity. A mere `name` proves nothing, and is accepted only if listed; a `token` is a JSON Web
    Token, checked as `[tokens]` says."""
    max_pdu: Size = 256 * KiB
    """Maximum Length Received that we advertise, bytes (PS3.8 Annex D.1)."""
    max_associations: int = 600
    max_associations_per_aet: int = 600
    max_operations: int = 16
    """Concurrent operations that we grant if asynchronous operations are negotiated (PS3.7 D.3.3.3)."""
    artim_timeout: float = 30.0
    """Seconds for the A-ASSOCIATE-RQ to arrive, and for the connection to close (PS3.8 §9.1.4)."""
    idle_timeout: float = 300.0
    """Seconds of silence from a peer with nothing in progress, then A-ABORT. 0: no limit."""
    association_timeout: float = 30.0
    """Seconds for the connection and the answer when we open an association."""
    response_timeout: float = 60.0
    """Seconds for the answer to a message or a release of ours. Busy archives take half a minute."""
    drain_timeout: float = 20.0
    """Seconds for which open associations are still served after SIGTERM."""
    accept_unknown_sop_classes: bool = False
    """Accept storage contexts for abstract syntaxes that no known edition of the standard names."""
    refused_transfer_syntaxes: tuple[str, ...] = ()
    """Transfer syntax UIDs, or their keywords, that are not accepted."""
    preferred_transfer_syntaxes: tuple[str, ...] = ("ExplicitVRLittleEndian", "ImplicitVRLittleEndian")
    """If the first transfer syntax of a context is in this list, the first of this list that the context offers is
    chosen: a sender that converts to Implicit VR loses the VR of private attributes. If another one comes first, such
    as a compressed one, that is chosen. Empty: the sender's order."""
    trace_failed: bool = False
    """Record the messages of each association, and show those of the last failed ones on their page: commands, SOP
    classes, statuses and lengths, no instance and nothing of a data set."""
    lenient_identifiers: bool = True
    """Answer C-FIND, C-MOVE and C-GET without a level, or without the keys of the levels above, if the meaning is
    clear. Off: as in PS3.4, they are answered A900 unless relational queries or retrievals are negotiated."""

    @property
    def plain_port(self) -> int | None:
        """The port for DICOM without TLS, 0 for any; None for none."""
        if self.port is None:
            return 4242 if self.tls_port is None else None
        return None if self.port == "off" else self.port


class Http(Section, frozen=True):
    """The HTTP listener: DICOMweb, management, pages."""

    host: str = "127.0.0.1"
    port: int = 8042
    users: tuple[User, ...] = ()
    allow_anonymous: bool = False
    """Serve everybody although the listener is not on loopback and no user is named."""
    hosts: tuple[str, ...] = ()
    """Host names of the gateway, besides those of loopback. With its port, `pacs.example.org:443`, a name stands for
    the pages of a proxy that calls us by another one."""
    cors_origins: tuple[str, ...] = ()
    """Origins, `https://viewer.example.org`, whose pages may send requests from browsers and read the answers."""
    prefix: str = ""
    """Path under which everything is served, `/gateway`; `/livez` and `/readyz` are served without it too."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies in front of us, which are trusted to name the client, and the scheme, host and
    path of its request."""
    forwarded: Literal["x-forwarded", "forwarded"] = "x-forwarded"
    """The headers of these proxies: X-Forwarded-For, -Proto, -Host and -Prefix, or Forwarded (RFC 7239). The others are
    ignored. A proxy must set, or remove, all of the headers that it passes on."""
    certificate: str = ""
    """PEM file with the certificate chain. With `key` set, HTTPS. Both are read again when they change."""
    key: str = ""
    client_ca: str = ""
    """PEM file with the authorities of client certificates, which prove the users that have such a `certificate`."""
    client_certificates: Literal["optional", "required"] = "optional"
    """Whether clients over HTTPS must show a certificate signed by `client_ca`."""
    session_hours: float = 12.0
    """Hours after which somebody who signed in on the page must sign in again."""
    session_idle_minutes: float = 60.0
    """Minutes without a request after which a session ends. 0: no limit."""
    max_results: int = 1000
    """Most matches in one QIDO-RS answer; a Warning header says if there are more."""
    max_connections: int = 1000
    """Connections at once; beyond that the oldest idle one is closed, or new ones wait."""
    min_rate: Size = 1 * KiB
    """Bytes a second, over a minute, below which the connection of a client that sends or receives is closed."""
    read_threads: int = 8
    """Threads that read stored files, together with those of `retrieve.threads`; each holds at most some 2 MiB."""
    ohif: str = ""
    """Folder of the OHIF viewer, filled by `dicom-gateway install-ohif`; empty: `ohif` in the data folder."""
    viewers: tuple[ExternalViewer, ...] = ()
    metadata_cache: Size = 512 * MiB
    """Bytes of metadata, compressed, cached in the index; the oldest are deleted first. 0: none."""


class Dicomweb(Section, frozen=True):
    """Uploads and deletion over DICOMweb and REST."""

    max_upload: Size = 64 * GiB
    """Bytes of one request with instances (STOW-RS, `POST /instances`); beyond that, 413."""
    uploads: int = 16
    """Concurrent requests with instances, three quarters of them for one client at most; further ones wait, and after a
    while are answered 503 (try again later). While some wait, those that send less than 64 KiB a second may be closed.
    Each holds at most some 12 MiB."""
    delete: bool = False
    """Allow deleting studies, series and instances, over DICOMweb and REST."""
    delete_status: int = 204
    """The status of a successful DELETE under `/dicom-web`: 200 or 204."""


class Rest(Section, frozen=True):
    """Orthanc's REST API: limits, and requests that affect the gateway itself, none of which is allowed unless it is
    set."""

    shutdown: bool = False
    """Allow `POST /tools/shutdown`, which ends the gateway, and `POST /tools/reset`, which has the configuration read
    again."""
    log_level: bool = False
    """Allow `PUT /tools/log-level`. The log of the levels `verbose` and `trace` may name patients."""
    max_attachment: Size = 1 * GiB
    """Bytes of one file that a user attaches to a patient, study, series or instance."""
    answer_cache: Size = 32 * MiB
    """Bytes of answers cached in memory: resources, attributes of instances, entries of the change log, pages of
    studies. 0: none."""


class MainTags(Section, frozen=True):
    """Attributes that are shown, returned and searched for without reading files."""

    patient: tuple[str, ...] = ()
    """Attributes of patients that the index is to have besides its own (Orthanc's ExtraMainDicomTags), by keyword or
    `gggg,eeee`, sequences too. What is stored already has them after `POST /tools/reconstruct`."""
    study: tuple[str, ...] = ()
    """Attributes of studies, of their first instance."""
    series: tuple[str, ...] = ()
    """Attributes of series, of their first instance."""
    instance: tuple[str, ...] = ()
    """Attributes of instances."""


class Storage(Section, frozen=True):
    """The data folder: files, index, and their limits."""

    path: str = "gateway-data"
    duplicates: Literal["keep", "overwrite", "reject"] = "keep"
    """How to treat an instance that is stored already with other bytes."""
    min_free: Size = 512 * MiB
    """Free bytes in the file system below which C-STORE is answered A700."""
    rejected_quota: Size = 1 * GiB
    """Bytes of unreadable objects that are kept aside; the oldest are deleted first."""
    buffer_memory: Size = 128 * MiB
    """Bytes of receive blocks for all associations together."""
    sync_threads: int = 12
    """Threads that write and sync files."""
    keepers: int = 1
    """Processes that write, sync and commit instances, many at once; 0: a thread of the gateway does it."""
    pack_below: Size = 640 * KiB
    """Bytes of an instance up to which it is appended to a segment with others, at the cost of one flush for all of
    them; a larger one is a file of its own. At most 640 KiB count. 0: each instance is a file."""
    scrub_days: float = 30.0
    """Days within which the checksums of all segments are compared once, slowly, so that damage is found while there
    is a backup. 0: never."""
    erase_within_hours: float = 24.0
    """Hours within which nothing of what was deleted can be read from the disk any more. Objects are overwritten some
    two minutes after their deletion, the log of the index twice in that time."""
    max_header: Size = 4 * MiB
    """Bytes of a data set within which the attributes for the index must be."""
    main_tags: MainTags = MainTags()


class IndexDatabase(Section, frozen=True):
    """Where the index is kept, with jobs, deliveries, worklists and the audit log."""

    url: str = ""
    """`postgresql://user@host/name` of a PostgreSQL database of its own, 13 or newer, in UTF-8; a password is better in
    a file, named by `?passfile=`. Needs the extra `postgres`. Empty: SQLite in the data folder."""


class Query(Section, frozen=True):
    """C-FIND (PS3.4 Annex C) and QIDO-RS (PS3.18 §10.6)."""

    max_instances_read: int = 1000
    """Instances that the indexed keys of a query may leave if another key must be read from their files; with more, a
    query that matches on such a key is answered A700 (413 over HTTP), and one that only requests its value gets none
    (FF01)."""


class Retrieve(Section, frozen=True):
    """Sending for C-MOVE and C-GET (PS3.4 C.4.2, C.4.3)."""

    window: int = 8
    """Concurrent instances on an association, if asynchronous operations are negotiated."""
    threads: int = 8
    """Threads that read stored files, together with those of `http.read_threads`; each instance being sent holds at
    most some 2 MiB."""
    progress_interval: float = 1.0
    """Seconds between the pending responses (FF00) that report progress."""


class Imaging(Section, frozen=True):
    """Pixels: decoding, encoding, rendering."""

    threads: int = 2
    """Threads that decode and encode pixels, and as many that render images; each holds a frame or two."""
    memory: Size = 1024 * MiB
    """Bytes of all frames being decoded, encoded and rendered, in all workers; further ones wait, and after a while are
    answered 503 (try again later). A frame that needs more than that is processed alone."""
    cache_memory: Size = 128 * MiB
    """Bytes of rendered frames that are cached. 0: none."""


class Commitment(Section, frozen=True):
    """Storage commitment (PS3.4 Annex J): the promise to senders who delete what they have sent."""

    report: Literal["same", "new"] = "same"
    """Report the outcome on the association of the request while it is open (`same`), or always on one of our own."""
    destinations: tuple[str, ...] = ()
    """Modalities, by name, that must have committed an instance too before we do. None: it suffices that it is stored
    here."""
    patience: float = 86400.0
    """Seconds for those modalities; what they have not committed by then fails."""
    keep_days: int = 3650
    """Days for which committed instances cannot be deleted."""


class Worklist(Section, frozen=True):
    """The modality worklist (PS3.4 Annex K)."""

    folder: str = ""
    """Folder whose files are worklist items: `.wl` (DICOM) and `.json` (DICOM JSON Model). Removing a file removes its
    item. Empty: none."""
    show_finished: bool = False
    """Include completed and discontinued steps in the answer to a query that names no status."""
    max_results: int = 1000
    """Items in one answer, at most; then A700."""


class Mpps(Section, frozen=True):
    """Modality performed procedure steps (PS3.4 F.7)."""

    forward: tuple[str, ...] = ()
    """Modalities, by name, to which every N-CREATE and N-SET is forwarded."""


class Jobs(Section, frozen=True):
    """Durable work: reports, deliveries and anything else that is retried until it is done."""

    slots: int = 256
    """Concurrent jobs of one process. Each destination limits its own concurrent deliveries."""
    per_destination: int = 4
    """Concurrent jobs, other than deliveries, for one destination."""
    keep_days: float = 7.0
    """Days for which finished jobs remain visible."""
    keep_outputs_hours: float = 24.0
    """Hours for which an archive that a job has made can be fetched (`/jobs/{id}/archive`)."""
    max_output_bytes: int = 20 << 30
    """Bytes of such archives, all together; the oldest are deleted for a new one."""
    keep_deliveries_days: float = 400.0
    """Days for which the record of a delivery is kept: what was sent where, with which changes."""


class Server(Section, frozen=True):
    """The processes of the gateway."""

    workers: int = 0
    """Processes that serve, over one data folder; the limits above are for all of them together. 0: one for every two
    available CPUs, at most 8."""


class Log(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Tracing(Section, frozen=True):
    """Traces by OpenTelemetry, sent to a collector (extra `otel`)."""

    endpoint: str = ""
    """URL of a collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is added. Empty: no
    traces. Further headers, and certificates for https, come from OpenTelemetry's own variables
    (`OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_EXPORTER_OTLP_CERTIFICATE`)."""
    ratio: float = 1.0
    """The share of traces that is recorded, 0 to 1, of those that begin here."""
    from_callers: bool = True
    """Continue the traces of callers over HTTP (`traceparent`, W3C Trace Context), recorded if theirs are. Off: every
    trace begins here, so that no caller can have more recorded than `ratio` says."""
    study_uids: bool = False
    """Let spans name studies by Study Instance UID, and requests by their path. Otherwise nothing in a trace says whose
    images it is about."""


class Settings(Section, frozen=True):
    dicom: Dicom = Dicom()
    modalities: dict[str, Modality] = {}
    """Remote application entities by name. If there are any, all other callers are rejected."""
    http: Http = Http()
    tokens: Tokens = Tokens()
    oidc: Oidc = Oidc()
    break_glass: BreakGlass = BreakGlass()
    roles: dict[str, Role] = {}
    """What users and modalities may do, and which studies they see, by the name of the role."""
    tenants: dict[str, Tenant] = {}
    """Those who share the archive without seeing each other, by name; roles say who belongs to them."""
    dicomweb: Dicomweb = Dicomweb()
    rest: Rest = Rest()
    storage: Storage = Storage()
    database: IndexDatabase = IndexDatabase()
    query: Query = Query()
    retrieve: Retrieve = Retrieve()
    imaging: Imaging = Imaging()
    commitment: Commitment = Commitment()
    worklist: Worklist = Worklist()
    mpps: Mpps = Mpps()
    jobs: Jobs = Jobs()
    destinations: dict[str, Destination] = {}
    """Destinations of deliveries, by the name used in rules."""
    rules: dict[str, Rule] = {}
    """Rules of delivery; all that match apply."""
    server: Server = Server()
    changes: dict[str, Changes] = {}
    """Change sets, by name."""
    audit: Audit = Audit()
    log: Log = Log()
    tracing: Tracing = Tracing()

    @property
    def is_audited(self) -> bool:
        """Whether the audit log is written."""
        return self.needs_sign_in if self.audit.enabled is None else self.audit.enabled

    @property
    def needs_sign_in(self) -> bool:
        """Whether requests over HTTP must prove a user."""
        http = self.http
        return bool(http.users or self.oidc.client_id or (self.tokens.issuer and not http.allow_anonymous))
