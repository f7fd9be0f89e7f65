"""The exceptions of the gateway, in one tree.

    GatewayError
    ├── ConfigurationError         a setting is wrong; the text says which and what to do
    ├── DataSetError               bytes are not the DICOM data set that they claim to be
    │   ├── TruncatedDataSet       the bytes end inside an element; more of them may help
    │   ├── NotAnInstance          no DICOM file at all, or a DICOMDIR
    │   └── UnsupportedTransferSyntax
    ├── EditError                  a change cannot be made to this object, or may not; the text says where and why
    ├── ProtocolError              the peer broke PS3.8 or PS3.7: carries the A-ABORT source and reason
    ├── AssociationRefused         a peer refused us: carries result, source and reason
    ├── AssociationLost            an association ended before its work was done
    ├── RequestFailed              a peer answered a request of ours with a failure: carries its status
    ├── StorageError               the store could not do what was asked
    │   ├── OutOfSpace             no room (a floor or ENOSPC); goes away by itself
    │   ├── OutOfDescriptors       no file can be opened for a moment; goes away by itself
    │   ├── StorageFailed          an I/O error after which nothing more may be acknowledged
    │   └── NoSuchObject           no object under that key
    ├── DatabaseError              the database could not do what was asked
    ├── SourceError                what a migration reads from cannot be read; the text says what
    ├── PermanentFailure           a job cannot succeed, however often it is tried
    ├── InstanceRefused            an instance is not accepted: carries the C-STORE status
    ├── RetainedByCommitment       an object must stay: storage commitment has promised it
    ├── RevisionConflict           it was changed since whoever wants to change it has read it
    ├── PreconditionFailed         it is there already, and the client wants to change it only where it is not
    ├── SeveralPatients            UIDs fit objects of several patients: carries these and the patients
    ├── Configured                 the configuration decides it, so it is changed there; the text says where
    ├── SharedByTenants            several tenants use it, so that nobody changes it for one of them alone
    ├── NotFound                   a study, series, instance or other resource does not exist
    │   └── UnknownResource        no patient, study, series or instance has that public id
    └── BadRequest                 a request makes no sense; the text says where and why

The wire code lives on the exception (`source`, `reason`, `status`). Domain errors become DIMSE statuses
in `scp/` and HTTP codes in `web/`, each in one place. Nothing here does I/O or formats for a person.
"""

from __future__ import annotations

from collections.abc import Sequence


class GatewayError(Exception):
    """Root of every error that the gateway raises on purpose."""


class ConfigurationError(GatewayError):
    """A setting is wrong. Each text names one, its place, and what would be right."""

    def __init__(self, *texts: str) -> None:
        super().__init__("; ".join(texts))
        self.texts = texts


class DataSetError(GatewayError):
    """Bytes are not the DICOM data set that they claim to be (PS3.5)."""


class TruncatedDataSet(DataSetError):
    """The bytes end inside an element."""


class NotAnInstance(DataSetError):
    """The bytes are no DICOM file at all, or a DICOMDIR."""


class UnsupportedTransferSyntax(DataSetError):
    """The transfer syntax is unknown, or the operation is not possible in it."""


class EditError(GatewayError):
    """A change to this object is impossible or not allowed. The text names the place and says why."""


class ProtocolError(GatewayError):
    """The peer broke the protocol. The association ends with A-ABORT (PS3.8 §9.3.8).

    `source` is 0 (service-user) or 2 (service-provider), `reason` the value of PS3.8 Table 9-26.
    """

    source = 2
    reason = 0

    def __init__(self, detail: str, *, reason: int | None = None) -> None:
        super().__init__(detail)
        if reason is not None:
            self.reason = reason


class AssociationRefused(GatewayError):
    """A peer answered A-ASSOCIATE-RJ: `result`, `source`, `reason` of PS3.8 Table 9-21."""

    def __init__(self, detail: str, result: int, source: int, reason: int) -> None:
        super().__init__(detail)
        self.result = result
        self.source = source
        self.reason = reason


class AssociationLost(GatewayError):
    """The association was aborted, or its connection closed, before the work on it was done."""


class RequestFailed(GatewayError):
    """A peer answered a request of ours with a failure; `status` is that of the response (PS3.7 Annex C)."""

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


class Overloaded(GatewayError):
    """A resource stayed in use by other work for as long as one may wait. Trying again helps."""


class StorageError(GatewayError):
    """The store could not do what was asked."""


class OutOfSpace(StorageError):
    """No space is left for more data. The condition ends by itself when space is freed."""


class OutOfDescriptors(StorageError):
    """No file can be opened now, because this process or the system has too many open. The disk is not at fault."""


class StorageFailed(StorageError):
    """An I/O error after which the store can no longer guarantee durability, such as a failed fsync.

    It is never retried: what the kernel did with the dirty pages is unknown.
    """


class NoSuchObject(StorageError):
    """No object is stored under that key (any more)."""


class DatabaseError(GatewayError):
    """The database could not do what was asked; the work was rolled back.

    With `in_doubt` true the outcome is unknown: the work may turn out to have been committed.
    """

    def __init__(self, detail: str, *, in_doubt: bool = False) -> None:
        super().__init__(detail)
        self.in_doubt = in_doubt


class SourceError(GatewayError):
    """A system, index or file that a migration reads from cannot be read. The text says which, and why."""


class PermanentFailure(GatewayError):
    """A job cannot succeed, however often it is tried. The text says why."""


class InstanceRefused(GatewayError):
    """An instance is not accepted. `status` is the C-STORE status (PS3.4 Table B.2-1)."""

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


class RetainedByCommitment(GatewayError):
    """An object must stay, because storage commitment has promised it. The text says which, and until when."""


class RevisionConflict(GatewayError):
    """Something was changed after the client that wants to change it had read it. The text says what to do."""


class PreconditionFailed(GatewayError):
    """Something is there that a client's request excludes. The text says what."""


class SeveralPatients(GatewayError):
    """The UIDs `uids`, from the study down, fit objects of several patients, whose public ids are `patients`."""

    def __init__(self, uids: Sequence[str], patients: Sequence[str]) -> None:
        super().__init__(f"{len(patients)} patients have an object of the UID {uids[-1]}")
        self.uids = uids
        self.patients = patients


class Configured(GatewayError):
    """The configuration file names it, so it is changed there. The text says where."""


class SharedByTenants(GatewayError):
    """Several tenants use it, so that nobody changes it for one of them alone."""


class NotFound(GatewayError):
    """The resource does not exist."""


class UnknownResource(NotFound):
    """No patient, study, series or instance has that public id."""


class BadRequest(GatewayError):
    """A request makes no sense. The text says which part, and why."""
