"""Storing an instance and its parents, and the lists of files without rows and rows without files."""

from __future__ import annotations

from functools import cache

from gateway.database.database import Query, numbered
from gateway.index.queries.columns import LABELS_OF_STUDY

ADD_INSTANCE = Query(
    "add_instance: adds an instance to a known series; no row if the series is not known, or the instance is. "
    "A deleted instance that returns has the version after its last",
    """
    INSERT INTO instances (series, public_id, uid, sop_class_uid, number, key, version, flags, transfer_syntax_uid,
        size, data_set_offset, received_at, via, calling_aet, called_aet, peer, attributes, extras)
    SELECT s.id, $2, $3, $4, CAST($5 AS BIGINT), $6,
        COALESCE((SELECT d.version + 1 FROM deleted_instances d WHERE d.public_id = $2), 1),
        s.flags + CASE WHEN EXISTS (SELECT 1 FROM instances o WHERE o.uid = $3) THEN 1 ELSE 0 END,
        $7, CAST($8 AS BIGINT), CAST($9 AS BIGINT), CAST($10 AS DOUBLE PRECISION), $11, $12, $13, $14, $15, $16
    FROM series s WHERE s.public_id = $1
    ON CONFLICT (public_id) DO NOTHING
    RETURNING series, flags, version
    """,
)
COUNT_IN_SERIES = Query(
    "count_in_series: one more instance in a series",
    "UPDATE series SET instance_count = instance_count + 1, size = size + $2, last_received = $3 WHERE id = $1 "
    "RETURNING study",
)
COUNT_IN_STUDY = Query(
    "count_in_study: one more instance in a study",
    "UPDATE studies SET instance_count = instance_count + 1, size = size + $2, last_received = $3 WHERE id = $1 "
    "RETURNING shared",
)
ADD_CHANGE = Query(
    "add_change: appends to the change log",
    "INSERT INTO changes (kind, level, public_id, study_uid, at) VALUES ($1, $2, $3, $4, $5) RETURNING seq",
)
COUNT_EDIT = Query(
    "count_edit: something that resources show has changed other than by an instance that came",
    "UPDATE resource_edits SET number = number + 1",
)
_FIND_INSTANCE = """
    SELECT i.id, i.key, i.version, i.transfer_syntax_uid, i.size, i.data_set_offset, i.flags, s.id, s.study,
        COALESCE(c.lacking, ''), t.shared, i.public_id
    FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study
    LEFT JOIN incomplete c ON c.key = i.key WHERE i.public_id """
FIND_INSTANCE = Query(
    "find_instance: the instance with a public id, with the values that a duplicate is compared by",
    f"{_FIND_INSTANCE} = $1",
)
ADD_INCOMPLETE = Query(
    "add_incomplete: what the pixel data of a version of an instance lack",
    """
    INSERT INTO incomplete (key, instance, study, lacking, found_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (key) DO NOTHING
    """,
)
FORGET_INCOMPLETE = Query("forget_incomplete: of a version that is replaced", "DELETE FROM incomplete WHERE key = $1")
ADD_PATIENT = Query(
    "add_patient: no row if the patient is known",
    """
    INSERT INTO patients (public_id, patient_id, attributes) VALUES ($1, $2, $3)
    ON CONFLICT (public_id) DO NOTHING RETURNING id
    """,
)
FIND_PATIENT = Query("find_patient: by public id", "SELECT id FROM patients WHERE public_id = $1")
ADD_STUDY = Query(
    "add_study: no row if the study is known; flagged (4) and shared if its UID is known under another patient. "
    "Labels outlive a rebuild of the index, and a patient's are of each study",
    f"""
    INSERT INTO studies (patient, public_id, uid, patient_id, patient_birth_date, patient_sex, date, time,
        accession_number, study_id, description, institution_name, attributes, extras,
        first_received, last_received, modalities, series_count, instance_count, size, flags, shared, source, tenant,
        labels)
    SELECT CAST($1 AS BIGINT), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
        CAST($15 AS DOUBLE PRECISION), CAST($15 AS DOUBLE PRECISION), '\\', 0, 0, 0,
        CASE WHEN EXISTS (SELECT 1 FROM studies o WHERE o.uid = $3) THEN 4 ELSE 0 END,
        CASE WHEN EXISTS (SELECT 1 FROM studies o WHERE o.uid = $3) THEN 1 ELSE 0 END, $16, $17,
        {LABELS_OF_STUDY.format(study="$2", patient="(SELECT p.public_id FROM patients p WHERE p.id = $1)")}
    WHERE true
    ON CONFLICT (public_id) DO NOTHING RETURNING id, shared
    """,
)
SHARE_STUDIES = Query(
    "share_studies: with a UID that another patient's study has too",
    "UPDATE studies SET shared = 1 WHERE uid = $1 AND shared = 0",
)
FIND_STUDY = Query("find_study: by public id", "SELECT id FROM studies WHERE public_id = $1")
ADD_NAME = Query(
    "add_name: a person name of a study, in searchable form",
    "INSERT INTO person_names (study, tag, name) VALUES ($1, $2, $3)",
)
FORGET_NAMES = Query("forget_names: of a study", "DELETE FROM person_names WHERE study = $1")
ADD_SERIES = Query(
    "add_series: to a study; flagged (2) if its UID is known under another parent, and as the study is",
    """
    INSERT INTO series (study, public_id, uid, modality, number, description, date, time, performed_date,
        performed_time, scheduled_step_ids, requested_procedure_ids, body_part, protocol_name, manufacturer,
        station_name, attributes, extras, instance_count, size, flags)
    SELECT t.id, $2, $3, $4, CAST($5 AS BIGINT), $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 0, 0,
        t.flags + CASE WHEN EXISTS (SELECT 1 FROM series o WHERE o.uid = $3) THEN 2 ELSE 0 END
    FROM studies t WHERE t.id = $1
    ON CONFLICT (public_id) DO NOTHING RETURNING id
    """,
)
COUNT_SERIES = Query(
    "count_series: one more series in a study; its modality is added as $3 unless $2 finds it listed",
    """
    UPDATE studies SET series_count = series_count + 1,
        modalities = CASE WHEN modalities LIKE $2 ESCAPE '!' THEN modalities ELSE modalities || $3 END
    WHERE id = $1
    """,
)
REPLACE_INSTANCE = Query(
    "replace_instance: a new version of an instance, if the version to be replaced is still the current one",
    """
    UPDATE instances SET key = $3, version = version + 1, transfer_syntax_uid = $4, size = $5, data_set_offset = $6,
        received_at = $7, via = $8, calling_aet = $9, called_aet = $10, peer = $11, sop_class_uid = $12,
        number = $13, attributes = $14, extras = $15
    WHERE id = $1 AND key = $2 RETURNING version
    """,
)
CORRECT_PATIENT = Query(
    "correct_patient: with the values of the latest version of an instance",
    "UPDATE patients SET patient_id = $2, attributes = $3 WHERE public_id = $1",
)
CORRECT_STUDY = Query(
    "correct_study: with the values of the latest version of an instance",
    """
    UPDATE studies SET patient_id = $2, patient_birth_date = $3, patient_sex = $4, date = $5, time = $6,
        accession_number = $7, study_id = $8, description = $9, institution_name = $10, attributes = $11, extras = $12
    WHERE id = $1
    """,
)
CORRECT_SERIES = Query(
    "correct_series: with the values of the latest version of an instance",
    """
    UPDATE series SET modality = $2, number = $3, description = $4, date = $5, time = $6, performed_date = $7,
        performed_time = $8, scheduled_step_ids = $9, requested_procedure_ids = $10, body_part = $11,
        protocol_name = $12, manufacturer = $13, station_name = $14, attributes = $15, extras = $16
    WHERE id = $1
    """,
)
MODALITIES = Query(
    "modalities: of the series of a study", "SELECT DISTINCT modality FROM series WHERE study = $1 ORDER BY 1"
)
SET_MODALITIES = Query("set_modalities: of a study", "UPDATE studies SET modalities = $2 WHERE id = $1")
RESIZE_SERIES = Query(
    "resize_series: by a number of bytes, after a new version of one of its instances",
    "UPDATE series SET size = size + $2, last_received = $3 WHERE id = $1",
)
RESIZE_STUDY = Query(
    "resize_study: by a number of bytes, after a new version of one of its instances",
    "UPDATE studies SET size = size + $2, last_received = $3 WHERE id = $1",
)

# --- files without rows, rows without files -----------------------------------------------------------------------

ADD_GARBAGE = Query(
    "add_garbage: a file that no row names any more",
    "INSERT INTO garbage (key, at) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
)
LIST_GARBAGE = Query(
    "list_garbage: files to delete that became garbage by $1, oldest first",
    "SELECT key FROM garbage WHERE at <= $1 ORDER BY at, key LIMIT $2",
)
CLAIM_GARBAGE = Query("claim_garbage: a file that is about to be deleted", "UPDATE garbage SET at = at WHERE key = $1")
FORGET_GARBAGE = Query("forget_garbage: a deleted file", "DELETE FROM garbage WHERE key = $1 RETURNING key")
LIST_FILES = Query(
    "list_files: a page of storage keys in rows, with the sizes of their files",
    "SELECT key, size FROM instances WHERE key > $1 ORDER BY key LIMIT $2",
)


@cache
def find_instances(count: int) -> Query:
    """The statement that finds `count` instances as FIND_INSTANCE finds one; a batch is small."""
    return Query("find_instances: those with public ids", f"{_FIND_INSTANCE} IN ({numbered(count)})")


def keys_present(count: int) -> Query:
    """The statement that finds which of `count` storage keys are in a row, of an instance or an attachment."""
    return Query("keys_present: those in a row", _in_tables(count, "instances", "attachments"))


def keys_known(count: int) -> Query:
    """The statement that finds which of `count` storage keys are known: in a row, to be deleted, or unreadable."""
    tables = "instances", "attachments", "garbage", "unreadable_files"
    return Query("keys_known: those known to the index", _in_tables(count, *tables))


def _in_tables(count: int, *tables: str) -> str:
    names = numbered(count)
    return " UNION ALL ".join([f"SELECT key FROM {table} WHERE key IN ({names})" for table in tables])
