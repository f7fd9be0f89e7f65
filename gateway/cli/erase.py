"""`dicom-gateway erase`: everything of a patient goes from the data folder, and from the disk. The work:
`admin/erasure.py`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.common import (
    ConfigOption,
    DataOption,
    JsonOption,
    audited,
    complain,
    count,
    load_settings,
    print_json,
    print_line,
)

if TYPE_CHECKING:
    from gateway.admin.erasure import ErasureReport


def erase(
    patient_id: Annotated[str, typer.Argument(metavar="PATIENT-ID", help="The Patient ID (0010,0020).")],
    tenant: Annotated[str, typer.Option("--tenant", metavar="NAME", help="The patient of this tenant.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    config_file: ConfigOption = None,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a patient at once: studies, attached files, what lies aside, archives of jobs, worklist items.

    Bytes are overwritten, and readers get an error. A gateway may go on meanwhile. The audit log and the list of
    changes keep identifiers; backups that still have the patient are named. Exit code 1 if there was nothing, or if
    storage commitment forbids it.
    """
    settings = load_settings(config_file, data)
    if not yes and not (sys.stdin.isatty() and typer.confirm(f"Erase patient {patient_id} for good?", err=True)):
        complain("nothing is erased; say --yes")
        raise typer.Exit(2)

    import uvloop

    from gateway.admin.erasure import erase_patient

    with audited(settings, "erase", patient_id=patient_id, tenant=tenant):
        report = uvloop.run(erase_patient(settings.storage, patient_id, tenant, url=settings.database.url))
    if as_json:
        print_json(report)
    else:
        _show(patient_id, report, on_server=bool(settings.database.url))
    if report.is_empty:
        raise typer.Exit(1)


def _show(patient_id: str, report: ErasureReport, *, on_server: bool) -> None:
    what = [
        count(number, name)
        for number, name in (
            (report.instances, "instance"),
            (report.aside, "file that lay aside"),
            (report.outputs, "archive of jobs"),
            (report.worklist_items, "worklist item"),
            (report.performed_steps, "performed step"),
        )
        if number
    ]
    print_line(f"{patient_id}: {', '.join(what) or 'there was nothing'}{' erased' if what else ''}")
    if on_server:
        complain("PostgreSQL keeps deleted rows in its tables until VACUUM, and in its log and backups longer")
    elif not report.log:
        complain("the log of the database is being read, and is overwritten later: within a day, or at the next stop")
    for path in report.worklist_files:
        complain(f"{path} of the worklist folder names the patient: whoever writes there must delete it")
    for folder, why in report.backups.items():
        state = "still has the patient" if why == "has it" else "cannot be read: see whether it has the patient"
        complain(f"the backup {folder} {state}")
