"""The structure of every section of the settings, and its defaults.

Every bound of the gateway is named here, with its unit. What no single field shows is `checks.py`'s.
"""

from __future__ import annotations

import typing
from typing import Literal

from gateway.config.base import GiB, KiB, MiB, Section
from gateway.config.destinations import Destination
from gateway.config.edits import Changes
from gateway.config.routes import Rule

Service = Literal["echo", "store", "find", "move", "get", "commit", "worklist", "mpps"]
SERVICES: tuple[Service, ...] = typing.get_args(Service)


class Modality(Section, frozen=True):
    """A remote application entity that we know: it may call us, and where it has a port, we can call it."""

    aet: str
    host: str = ""
    """Where it calls from: an address, a network (`10.1.0.0/16`), or a name, resolved afresh; empty: anywhere.
    To be called it needs an address or a name."""
    port: int = 0
    """Where it listens; 0: it cannot be called."""
    allow: tuple[Service, ...] = SERVICES
    """What it may ask of us."""
    our_aet: str = ""
    """What we call ourselves when we call it; empty: `dicom.aet`."""
    tls: bool = False
    """We call it over TLS, and it must call us on `dicom.tls_port`."""
    tls_name: str = ""
    """Name (common name or subject alternative name) that its certificate must carry; empty: when we call it, its
    host; `*`: any name that `dicom.tls_ca` signed."""
    user_identity: Literal["", "ignored", "optional", "required"] = ""
    """As `dicom.user_identity`, for this one; empty: as there."""
    identity_name: str = ""
    """User name that we show it when we call it (PS3.7 D.3.3.7); empty: none."""
    identity_password: str = ""
    """Password that goes with it. Over a connection without TLS everybody on the way can read it."""
    identity_token_file: str = ""
    """File with the JSON Web Token that we show it instead, read again for each association."""
    identity_confirmed: bool = False
    """Call it only where it confirms to have checked the user; many that do not look at it say nothing."""
    association_timeout: float | None = None
    """Seconds for the connection and the answer to our association request. Unset: as in `[dicom]`, like the others."""
    response_timeout: float | None = None
    """Seconds for the answer to a message or a release of ours."""
    idle_timeout: float | None = None
    """Seconds of silence on an association that it opened. 0: for ever."""


class Dicom(Section, frozen=True):
    """The DICOM listener (PS3.8) and what it accepts."""

    aet: str = "GATEWAY"
    aets: tuple[str, ...] = ()
    """Further AE titles that are ours."""
    host: str = "127.0.0.1"
    port: int = 4242
    """0 lets the system choose; the log names the choice."""
    allow_any_caller: bool = False
    """Take associations from those that are no modality of ours. Without it they are rejected (1/1/3), unless no
    modality is named and the listener is on loopback."""
    any_caller_may: tuple[Service, ...] = ("echo", "store")
    """What `allow_any_caller` allows them."""
    check_called_aet: bool = False
    """Reject (1/1/7) an association that calls us by another name than `aet` or one of `aets`."""
    tls_port: int | None = None
    """Port for DICOM over TLS, beside the plain one; 0 lets the system choose. Unset: none."""
    tls_certificate: str = ""
    """PEM file with our certificate chain, for those who call us over TLS and those whom we call."""
    tls_key: str = ""
    """Its private key, PEM without a passphrase. All three files are read again when they change."""
    tls_ca: str = ""
    """PEM file with the certificate authorities that we trust; empty: the system's, and no client certificates."""
    tls_client_certificates: Literal["none", "optional", "required"] = "none"
    """Whether who calls us over TLS must show a certificate that `tls_ca` signed."""
    tls_bind_aet: bool = False
    """The certificate must carry the calling AE title, or the `tls_name` of its modality, as one of its names."""
    user_identity: Literal["ignored", "optional", "required"] = "ignored"
    """User identity (PS3.7 D.3.3.7) against `[[http.users]]` or `[tokens]`: checked where offered (`optional`), or
    needed too."""
    user_identity_types: tuple[Literal["name", "password", "token"], ...] = ("password",)
    """What counts as an identity. A mere `name` proves nothing, and is taken only where it is listed; a `token` is a
    JSON Web Token, checked as `[tokens]` says."""
    max_pdu: int = 256 * KiB
    """Maximum Length Received that we advertise, bytes (PS3.8 Annex D.1)."""
    max_associations: int = 600
    max_associations_per_aet: int = 600
    max_operations: int = 16
    """Operations in progress that we grant where asynchronous operations are negotiated (PS3.7 D.3.3.3)."""
    artim_timeout: float = 30.0
    """Seconds for the A-ASSOCIATE-RQ to arrive, and for the connection to close (PS3.8 §9.1.4)."""
    idle_timeout: float = 300.0
    """Seconds of silence from a peer with nothing in progress, then A-ABORT. 0: for ever."""
    association_timeout: float = 30.0
    """Seconds for the connection and the answer when we open an association."""
    response_timeout: float = 60.0
    """Seconds for the answer to a message or a release of ours. Archives that are busy take half a minute."""
    drain_timeout: float = 20.0
    """Seconds that open associations are still served after SIGTERM."""
    accept_unknown_sop_classes: bool = False
    """Accept storage contexts for abstract syntaxes that no edition of the standard we know names."""
    refused_transfer_syntaxes: tuple[str, ...] = ()
    """Transfer syntax UIDs, or their keywords, that are not accepted."""


class User(Section, frozen=True):
    name: str
    password: str
    """As printed by `dicom-gateway hash-password`; never the password itself."""


class Tokens(Section, frozen=True):
    """JSON Web Tokens (RFC 7519) that prove who calls us."""

    issuer: str = ""
    """`iss` that they must have."""
    audience: str = ""
    """`aud` that they must have: we."""
    keys: str = ""
    """Public keys of the issuer: a file (JWK Set or PEM), read again when it changes, or an https URL of a JWK Set."""
    user_claim: str = "sub"
    """Claim that names the user."""
    users: tuple[str, ...] = ()
    """Users that are taken; none named: everybody for whom the issuer makes a token for this audience."""


class Http(Section, frozen=True):
    """The HTTP listener: DICOMweb, management, pages."""

    host: str = "127.0.0.1"
    port: int = 8042
    users: tuple[User, ...] = ()
    allow_anonymous: bool = False
    """Serve everybody although the listener is not on loopback and no user is named."""
    hosts: tuple[str, ...] = ()
    """Names under which we are reached, for the Host and Origin checks, besides loopback's own."""
    cors_origins: tuple[str, ...] = ()
    """Origins, `https://viewer.example.org`, whose pages may ask us from browsers and read the answers."""
    prefix: str = ""
    """Path under which everything is served, `/gateway`; `/livez` and `/readyz` are served without it too."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses and networks of proxies in front of us, which are believed what they say of the client, and of the
    scheme, host and path that it asked for."""
    forwarded: Literal["x-forwarded", "forwarded"] = "x-forwarded"
    """How they say it: X-Forwarded-For, -Proto, -Host and -Prefix, or Forwarded (RFC 7239). The other is not read. A
    proxy must set, or take away, all of those that it passes on."""
    certificate: str = ""
    """PEM file with the certificate chain. With `key` set, HTTPS. Both are read again when they change."""
    key: str = ""
    max_results: int = 1000
    """Most matches in one QIDO-RS answer; more are said in a Warning header."""
    min_rate: int = 1 * KiB
    """Bytes a second below which, over a minute, a client that we send to or that sends to us is let go."""
    read_threads: int = 8
    """Threads that read stored files for answers; each holds at most some 2 MiB."""
    ohif: str = ""
    """Folder of the OHIF viewer, which `dicom-gateway install-ohif` fills; empty: `ohif` in the data folder."""
    metadata_cache: int = 512 * MiB
    """Bytes of metadata, compressed, that are kept in the index to be sent again; the oldest go first. 0: none."""


class Dicomweb(Section, frozen=True):
    """What may be done over DICOMweb and REST beside reading."""

    max_upload: int = 64 * GiB
    """Bytes of one request that brings instances (STOW-RS, `POST /instances`); past it, 413."""
    uploads: int = 16
    """Requests that bring instances at once; further ones wait, and after a while are told to come back (503). Each
    holds at most some 12 MiB."""
    delete: bool = False
    """Let studies, series and instances be deleted, over DICOMweb and REST."""
    delete_status: int = 204
    """What a DELETE under `/dicom-web` that has worked is answered: 200 or 204."""


class Storage(Section, frozen=True):
    """The data folder: files, index, and their limits."""

    path: str = "gateway-data"
    duplicates: Literal["keep", "overwrite", "reject"] = "keep"
    """What happens to an instance that is here already with other bytes."""
    min_free: int = 512 * MiB
    """Free bytes in the file system below which C-STORE is answered A700."""
    rejected_quota: int = 1 * GiB
    """Bytes of unreadable objects that are kept aside; the oldest go first."""
    buffer_memory: int = 128 * MiB
    """Bytes of receive blocks for all associations together."""
    sync_threads: int = 12
    """Threads that write and sync files."""
    keepers: int = 1
    """Processes that write, sync and commit instances, many at once; 0 has it done in threads, one by one."""
    max_header: int = 4 * MiB
    """Bytes of a data set within which the attributes for the index must stand."""


class Query(Section, frozen=True):
    """C-FIND (PS3.4 Annex C) and QIDO-RS (PS3.18 §10.6)."""

    max_instances_read: int = 1000
    """Instances that the indexed keys of a query may leave where another key is to be read from their files; with
    more, a query that matches on such a key is answered A700 (413 over HTTP), and one that only asks for its value
    gets none (FF01)."""


class Retrieve(Section, frozen=True):
    """C-MOVE and C-GET (PS3.4 C.4.2, C.4.3): what we send when asked."""

    window: int = 8
    """Instances on their way at once on an association, where asynchronous operations are negotiated."""
    threads: int = 8
    """Threads that read stored files for them; each instance on its way holds at most some 2 MiB."""
    progress_interval: float = 1.0
    """Seconds between the pending responses (FF00) that say how far it is."""


class Imaging(Section, frozen=True):
    """Pixels: decoding, encoding, rendering."""

    threads: int = 2
    """Threads that decode and encode pixels, for DICOM and for the web each; each holds a frame or two."""
    cache_memory: int = 128 * MiB
    """Bytes of frames that are kept for whoever asks for them again. 0: none."""


class Commitment(Section, frozen=True):
    """Storage commitment (PS3.4 Annex J): what we promise to those who delete what they have sent."""

    report: Literal["same", "new"] = "same"
    """Tell the outcome on the association of the request while it is open (`same`), or always on one of our own."""
    destinations: tuple[str, ...] = ()
    """Modalities, by name, that must have committed an instance too before we do. None: it suffices that it is stored
    here."""
    patience: float = 86400.0
    """Seconds that those may take; what they have not committed by then fails."""
    keep_days: int = 3650
    """Days for which what is committed is kept, whatever else deletes."""


class Worklist(Section, frozen=True):
    """The modality worklist (PS3.4 Annex K)."""

    folder: str = ""
    """Folder whose files are worklist items: `.wl` (DICOM) and `.json` (DICOM JSON Model). Removing a file removes its
    item. Empty: none."""
    show_finished: bool = False
    """Answer with steps that are completed or discontinued too when a query does not name a status."""
    max_results: int = 1000
    """Items in one answer, at most; then A700."""


class Mpps(Section, frozen=True):
    """Modality performed procedure steps (PS3.4 F.7)."""

    forward: tuple[str, ...] = ()
    """Modalities, by name, that every N-CREATE and N-SET is sent on to."""


class Jobs(Section, frozen=True):
    """Durable work: reports, deliveries and whatever else is tried again until it is done."""

    slots: int = 256
    """Jobs at once, in one process. How many deliveries go to a destination at once is for it to say."""
    per_destination: int = 4
    """Of those, other than deliveries, to one destination."""
    keep_days: float = 7.0
    """Days for which finished jobs stay to be looked at."""
    keep_deliveries_days: float = 400.0
    """Days for which it is on record what went where, and under which changes."""


class Server(Section, frozen=True):
    """The processes that the gateway is made of."""

    workers: int = 0
    """Processes that serve, over one data folder; budgets above are for all of them together. 0: one for each two
    CPUs that we may use, at most 8. On other systems than Linux there is one."""


class Log(Section, frozen=True):
    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"


class Settings(Section, frozen=True):
    dicom: Dicom = Dicom()
    modalities: dict[str, Modality] = {}
    """Remote application entities by the name that people call them. With any, all others are rejected."""
    http: Http = Http()
    tokens: Tokens = Tokens()
    dicomweb: Dicomweb = Dicomweb()
    storage: Storage = Storage()
    query: Query = Query()
    retrieve: Retrieve = Retrieve()
    imaging: Imaging = Imaging()
    commitment: Commitment = Commitment()
    worklist: Worklist = Worklist()
    mpps: Mpps = Mpps()
    jobs: Jobs = Jobs()
    destinations: dict[str, Destination] = {}
    """Where deliveries go, by the name that rules call them."""
    rules: dict[str, Rule] = {}
    """What is delivered where; all that match apply."""
    server: Server = Server()
    changes: dict[str, Changes] = {}
    """What can be done to instances, by the name of the set."""
    log: Log = Log()
