"""Every statement of the index whose text is fixed. Searches are put together in `search.py` from `matching.py`."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.database.database import Query

# --- storing an instance ------------------------------------------------------------------------------------------

ADD_INSTANCE = Query(
    "add_instance: adds an instance to a series that is known; no row where the series is not, or the instance is",
    """
    INSERT INTO instances (series, public_id, uid, sop_class_uid, number, key, version, flags, transfer_syntax_uid,
        size, data_set_offset, received_at, via, calling_aet, called_aet, peer, attributes, extras)
    SELECT s.id, $2, $3, $4, CAST($5 AS BIGINT), $6, CAST($7 AS BIGINT),
        s.flags + CASE WHEN EXISTS (SELECT 1 FROM instances o WHERE o.uid = $3) THEN 1 ELSE 0 END,
        $8, CAST($9 AS BIGINT), CAST($10 AS BIGINT), CAST($11 AS DOUBLE PRECISION), $12, $13, $14, $15, $16, $17
    FROM series s WHERE s.public_id = $1
    ON CONFLICT (public_id) DO NOTHING
    RETURNING series, flags
    """,
)
COUNT_IN_SERIES = Query(
    "count_in_series: one more instance in a series",
    "UPDATE series SET instance_count = instance_count + 1, size = size + $2 WHERE id = $1 RETURNING study",
)
COUNT_IN_STUDY = Query(
    "count_in_study: one more instance in a study",
    "UPDATE studies SET instance_count = instance_count + 1, size = size + $2, last_received = $3 WHERE id = $1",
)
ADD_CHANGE = Query(
    "add_change: appends to the change log",
    "INSERT INTO changes (kind, level, public_id, study_uid, at) VALUES ($1, $2, $3, $4, $5) RETURNING seq",
)
FIND_INSTANCE = Query(
    "find_instance: the instance of a public id, with what a duplicate is compared by",
    """
    SELECT i.id, i.key, i.version, i.transfer_syntax_uid, i.size, i.data_set_offset, i.flags, s.id, s.study
    FROM instances i JOIN series s ON s.id = i.series WHERE i.public_id = $1
    """,
)
ADD_PATIENT = Query(
    "add_patient: no row where the patient is known",
    """
    INSERT INTO patients (public_id, patient_id, attributes) VALUES ($1, $2, $3)
    ON CONFLICT (public_id) DO NOTHING RETURNING id
    """,
)
FIND_PATIENT = Query("find_patient: by public id", "SELECT id FROM patients WHERE public_id = $1")
ADD_STUDY = Query(
    "add_study: no row where the study is known; flagged (4) where its UID is known under another patient",
    """
    INSERT INTO studies (patient, public_id, uid, patient_id, patient_birth_date, patient_sex, date, time,
        accession_number, study_id, description, institution_name, attributes, extras,
        first_received, last_received, modalities, series_count, instance_count, size, flags)
    SELECT CAST($1 AS BIGINT), $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14,
        CAST($15 AS DOUBLE PRECISION), CAST($15 AS DOUBLE PRECISION), '\\', 0, 0, 0,
        CASE WHEN EXISTS (SELECT 1 FROM studies o WHERE o.uid = $3) THEN 4 ELSE 0 END
    WHERE true
    ON CONFLICT (public_id) DO NOTHING RETURNING id
    """,
)
FIND_STUDY = Query("find_study: by public id", "SELECT id FROM studies WHERE public_id = $1")
ADD_NAME = Query(
    "add_name: a person name of a study, as it is searched for",
    "INSERT INTO person_names (study, tag, name) VALUES ($1, $2, $3)",
)
FORGET_NAMES = Query("forget_names: of a study", "DELETE FROM person_names WHERE study = $1")
ADD_SERIES = Query(
    "add_series: to a study; flagged (2) where its UID is known under another parent, and as the study is",
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
    "count_series: one more series in a study, whose modality matches $2 once it is listed and is added as $3",
    """
    UPDATE studies SET series_count = series_count + 1,
        modalities = CASE WHEN modalities LIKE $2 ESCAPE '!' THEN modalities ELSE modalities || $3 END
    WHERE id = $1
    """,
)
REPLACE_INSTANCE = Query(
    "replace_instance: a new version of an instance, where the version to be replaced is still the current one",
    """
    UPDATE instances SET key = $3, version = version + 1, transfer_syntax_uid = $4, size = $5, data_set_offset = $6,
        received_at = $7, via = $8, calling_aet = $9, called_aet = $10, peer = $11, sop_class_uid = $12,
        number = $13, attributes = $14, extras = $15
    WHERE id = $1 AND key = $2 RETURNING version
    """,
)
CORRECT_PATIENT = Query(
    "correct_patient: as the latest version of an instance has it",
    "UPDATE patients SET patient_id = $2, attributes = $3 WHERE public_id = $1",
)
CORRECT_STUDY = Query(
    "correct_study: as the latest version of an instance has it",
    """
    UPDATE studies SET patient_id = $2, patient_birth_date = $3, patient_sex = $4, date = $5, time = $6,
        accession_number = $7, study_id = $8, description = $9, institution_name = $10, attributes = $11, extras = $12
    WHERE id = $1
    """,
)
CORRECT_SERIES = Query(
    "correct_series: as the latest version of an instance has it",
    """
    UPDATE series SET modality = $2, number = $3, description = $4, date = $5, time = $6, performed_date = $7,
        performed_time = $8, scheduled_step_ids = $9, requested_procedure_ids = $10, body_part = $11,
        protocol_name = $12, manufacturer = $13, station_name = $14, attributes = $15, extras = $16
    WHERE id = $1
    """,
)
MODALITIES = Query(
    "modalities: those of the series of a study", "SELECT DISTINCT modality FROM series WHERE study = $1 ORDER BY 1"
)
SET_MODALITIES = Query("set_modalities: of a study", "UPDATE studies SET modalities = $2 WHERE id = $1")
RESIZE_SERIES = Query("resize_series: by a number of bytes", "UPDATE series SET size = size + $2 WHERE id = $1")
RESIZE_STUDY = Query(
    "resize_study: by a number of bytes, after a new version of one of its instances",
    "UPDATE studies SET size = size + $2, last_received = $3 WHERE id = $1",
)

# --- removing -----------------------------------------------------------------------------------------------------

_BELOW = {
    "patient": "series IN (SELECT s.id FROM series s JOIN studies t ON t.id = s.study WHERE t.patient = $1)",
    "study": "series IN (SELECT s.id FROM series s WHERE s.study = $1)",
    "series": "series = $1",
    "instance": "id = $1",
}
"""Of each level: which instances are below the resource with row number $1."""
_SERIES_BELOW = {"patient": "study IN (SELECT t.id FROM studies t WHERE t.patient = $1)", "study": "study = $1"}
_STUDIES_BELOW = {"patient": "patient = $1", "study": "id = $1"}
ROWS_BY_PUBLIC_ID = {
    level: Query(f"{level}_row: by public id", f"SELECT id FROM {table} WHERE public_id = $1")
    for level, table in {
        "patient": "patients",
        "study": "studies",
        "series": "series",
        "instance": "instances",
    }.items()
}
ROWS_BY_UID = {
    "study": Query("study_rows: by UID, under every patient", "SELECT id FROM studies WHERE uid = $1"),
    "series": Query(
        "series_rows: by the UIDs of study and series",
        "SELECT s.id FROM series s JOIN studies t ON t.id = s.study WHERE t.uid = $1 AND s.uid = $2",
    ),
    "instance": Query(
        "instance_rows: by the UIDs of study, series and instance",
        """
        SELECT i.id FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study
        WHERE t.uid = $1 AND s.uid = $2 AND i.uid = $3
        """,
    ),
}
ANCESTORS = {
    level: Query(
        f"ancestors of a {level}: row numbers and public ids, '' below its level",
        f"""
        SELECT p.id, p.public_id, t.id, t.public_id, t.uid, {columns}
        FROM patients p JOIN studies t ON t.patient = p.id {joins} WHERE {condition} LIMIT 1
        """,
    )
    for level, columns, joins, condition in (
        ("patient", "0, ''", "", "p.id = $1"),
        ("study", "0, ''", "", "t.id = $1"),
        ("series", "s.id, s.public_id", "JOIN series s ON s.study = t.id", "s.id = $1"),
        (
            "instance",
            "s.id, s.public_id",
            "JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id",
            "i.id = $1",
        ),
    )
}
TOTALS_BELOW = {
    level: Query(
        f"totals below a {level}: instances and bytes",
        f"SELECT COUNT(*), COALESCE(SUM(size), 0) FROM instances WHERE {below}",
    )
    for level, below in _BELOW.items()
}
DISCARD_BELOW = {
    level: Query(
        f"discard_below a {level}: its files are to be deleted, from $2 on",
        f"INSERT INTO garbage (key, at) SELECT key, CAST($2 AS DOUBLE PRECISION) FROM instances WHERE {below} "
        "ON CONFLICT (key) DO NOTHING",
    )
    for level, below in _BELOW.items()
}
_LOG = "INSERT INTO changes (kind, level, public_id, study_uid, at) SELECT 'Deleted', "
LOG_INSTANCES_BELOW = {
    level: Query(
        f"log_instances_below a {level}: that they are deleted",
        f"{_LOG} 'Instance', i.public_id, t.uid, CAST($2 AS DOUBLE PRECISION) FROM instances i "
        f"JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study WHERE i.{below} ORDER BY i.id",
    )
    for level, below in _BELOW.items()
}
LOG_SERIES_BELOW = {
    level: Query(
        f"log_series_below a {level}: that they are deleted",
        f"{_LOG} 'Series', s.public_id, t.uid, CAST($2 AS DOUBLE PRECISION) FROM series s "
        f"JOIN studies t ON t.id = s.study WHERE s.{below} ORDER BY s.id",
    )
    for level, below in _SERIES_BELOW.items()
}
LOG_STUDIES_BELOW = {
    level: Query(
        f"log_studies_below a {level}: that they are deleted",
        f"{_LOG} 'Study', public_id, uid, CAST($2 AS DOUBLE PRECISION) FROM studies WHERE {below} ORDER BY id",
    )
    for level, below in _STUDIES_BELOW.items()
}
REMOVE_INSTANCES = {
    level: Query(f"remove_instances: of a {level}", f"DELETE FROM instances WHERE {below}")
    for level, below in _BELOW.items()
}
REMOVE_SERIES = {
    level: Query(f"remove_series: of a {level}", f"DELETE FROM series WHERE {below}")
    for level, below in {**_SERIES_BELOW, "series": "id = $1"}.items()
}
REMOVE_STUDIES = {
    level: tuple(
        Query(f"{name}: of a {level}", f"DELETE FROM {table} WHERE {condition}")
        for name, table, condition in (
            ("remove_names", "person_names", f"study IN (SELECT id FROM studies WHERE {below})"),
            ("remove_metadata", "metadata", f"study_uid IN (SELECT uid FROM studies WHERE {below})"),
            ("remove_studies", "studies", below),
        )
    )
    for level, below in _STUDIES_BELOW.items()
}
"""In this order: names and metadata are found by the studies."""
REMOVE_PATIENT = Query(
    "remove_patient: where there is no study left; its row, then",
    "DELETE FROM patients WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM studies WHERE patient = $1) RETURNING id",
)
SHRINK_SERIES = Query(
    "shrink_series: by instances and bytes; how many instances are left",
    "UPDATE series SET instance_count = instance_count - $2, size = size - $3 WHERE id = $1 RETURNING instance_count",
)
SHRINK_STUDY = Query(
    "shrink_study: by series, instances and bytes; how many series are left",
    """
    UPDATE studies SET series_count = series_count - $2, instance_count = instance_count - $3, size = size - $4
    WHERE id = $1 RETURNING series_count
    """,
)
NEWEST_CHANGE = Query("newest_change: number of the last entry", "SELECT COALESCE(MAX(seq), 0) FROM changes")

# --- files without rows, rows without files -----------------------------------------------------------------------

ADD_GARBAGE = Query(
    "add_garbage: a file that no row names any more",
    "INSERT INTO garbage (key, at) VALUES ($1, $2) ON CONFLICT (key) DO NOTHING",
)
LIST_GARBAGE = Query(
    "list_garbage: files to delete that have waited since $1, oldest first",
    "SELECT key FROM garbage WHERE at <= $1 ORDER BY at, key LIMIT $2",
)
FORGET_GARBAGE = Query("forget_garbage: a file that is deleted", "DELETE FROM garbage WHERE key = $1")
LIST_FILES = Query(
    "list_files: a page of storage keys that rows name, with the sizes of their files",
    "SELECT key, size FROM instances WHERE key > $1 ORDER BY key LIMIT $2",
)


def keys_present(count: int) -> Query:
    """Which of `count` storage keys a row names."""
    names = ", ".join([f"${index}" for index in range(1, count + 1)])
    return Query("keys_present: those that a row names", f"SELECT key FROM instances WHERE key IN ({names})")


# --- retrieval ----------------------------------------------------------------------------------------------------

_LOCATED = """
    SELECT i.id, t.uid, s.uid, i.uid, i.sop_class_uid, i.transfer_syntax_uid, i.key, i.size, i.data_set_offset,
        i.version, s.number, s.id, i.number
    FROM studies t JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id
    WHERE t.uid = $1"""
_AFTER = """
    AND (s.number, s.id, i.number, i.id) > ($2, $3, $4, $5)
    ORDER BY s.number, s.id, i.number, i.id LIMIT $6"""
LOCATE_BY_PUBLIC_ID = {
    level: Query(
        f"locate_{level}: a page of the instances of a {level} by its public id, in the order of rows",
        f"""
        SELECT i.id, t.uid, s.uid, i.uid, i.sop_class_uid, i.transfer_syntax_uid, i.key, i.size, i.data_set_offset,
            i.version, s.number, s.id, i.number
        FROM patients p JOIN studies t ON t.patient = p.id JOIN series s ON s.study = t.id
            JOIN instances i ON i.series = s.id
        WHERE {table}.public_id = $1 AND i.id > $2 ORDER BY i.id LIMIT $3
        """,
    )
    for level, table in {"patient": "p", "study": "t", "series": "s", "instance": "i"}.items()
}
LOCATE_STUDY = Query("locate_study: a page of the instances of a study, in order", _LOCATED + _AFTER)
LOCATE_SERIES = Query(
    "locate_series: a page of the instances of a series, in order", _LOCATED + " AND s.uid = $7" + _AFTER
)
LOCATE_INSTANCE = Query(
    "locate_instance: an instance under its study and series",
    _LOCATED + " AND s.uid = $7 AND i.uid = $8" + _AFTER,
)

# Kinds of series that have nothing to look at, or not what a study is recognised by (PS3.3 C.7.3.1.1.1).
_NOT_PICTURES = (
    "'SR', 'PR', 'KO', 'DOC', 'RTSTRUCT', 'RTPLAN', 'RTRECORD', 'RTDOSE', 'REG', 'FID', 'SEG', 'ECG', 'AU', 'PLAN'"
)
_MIDDLE = f"""
    AND s.id = (SELECT s.id FROM studies t JOIN series s ON s.study = t.id WHERE t.uid = $1 {{series}}
        ORDER BY CASE WHEN s.modality IN ({_NOT_PICTURES}) THEN 1 ELSE 0 END, s.number, s.id LIMIT 1)
    ORDER BY i.number, i.id LIMIT 1 OFFSET COALESCE((SELECT s.instance_count / 2
        FROM studies t JOIN series s ON s.study = t.id WHERE t.uid = $1 {{series}}
        ORDER BY CASE WHEN s.modality IN ({_NOT_PICTURES}) THEN 1 ELSE 0 END, s.number, s.id LIMIT 1), 0)"""
LOCATE_MIDDLE_OF_STUDY = Query(
    "locate_middle_of_study: the instance that stands for a study, of its first series with pictures",
    _LOCATED + _MIDDLE.format(series=""),
)
LOCATE_MIDDLE_OF_SERIES = Query(
    "locate_middle_of_series: the instance that stands for a series", _LOCATED + _MIDDLE.format(series="AND s.uid = $2")
)
_VALIDATOR = """
    SELECT COUNT(*), COALESCE(SUM(i.id), 0), COALESCE(SUM(i.version), 0), COALESCE(SUM(i.size), 0),
        COALESCE(MAX(i.received_at), 0)
    FROM studies t JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id
    WHERE t.uid = $1"""
VALIDATORS = (
    Query("validator_of_study: what differs as soon as an instance of a study comes or goes", _VALIDATOR),
    Query("validator_of_series: the same of a series", _VALIDATOR + " AND s.uid = $2"),
    Query("validator_of_instance: the same of an instance", _VALIDATOR + " AND s.uid = $2 AND i.uid = $3"),
)
"""By the number of UIDs that are given besides the study's."""

_SELECTED = {
    "outline": ("SELECT i.sop_class_uid, i.transfer_syntax_uid, COUNT(*), SUM(i.size)", " GROUP BY 1, 2 ORDER BY 1, 2"),
    "series": ("SELECT s.id", " ORDER BY t.id, s.number, s.id"),
    "instances": (
        "SELECT i.id, t.uid, s.uid, i.uid, i.sop_class_uid, i.transfer_syntax_uid, i.key, i.size, i.data_set_offset, "
        "i.version, s.number, s.id, i.number",
        " ORDER BY t.id, s.number, s.id, i.number, i.id",
    ),
}
_SELECTED_FROM = {
    "outline": "FROM studies t JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id",
    "series": "FROM studies t JOIN series s ON s.study = t.id",
    "instances": "FROM studies t JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id",
}
SELECTED_IN_SERIES = Query(
    "selected_in_series: a page of the instances of a series, by its row number",
    """
    SELECT i.id, t.uid, s.uid, i.uid, i.sop_class_uid, i.transfer_syntax_uid, i.key, i.size, i.data_set_offset,
        i.version, s.number, s.id, i.number
    FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study
    WHERE i.series = $1 AND (i.number, i.id) > ($2, $3) ORDER BY i.number, i.id LIMIT $4
    """,
)


def selected(what: str, keys: Sequence[tuple[str, Sequence[str]]]) -> tuple[Query, list[str]]:
    """`outline`, `series` or `instances` under unique keys (column, values), which hold together."""
    conditions, parameters = [], list[str]()
    for column, values in keys:
        names = ", ".join([f"${len(parameters) + number}" for number in range(1, len(values) + 1)])
        conditions.append(f"{column} IN ({names})")
        parameters += values
    head, tail = _SELECTED[what]
    sql = f"{head} {_SELECTED_FROM[what]} WHERE {' AND '.join(conditions)}{tail}"
    return Query(f"selected_{what}: under unique keys", sql), parameters


# --- metadata that is kept ----------------------------------------------------------------------------------------

FIND_METADATA = Query("find_metadata: by its tag", "SELECT length, checksum, body FROM metadata WHERE tag = $1")
KEEP_METADATA = Query(
    "keep_metadata: under its tag, of a study that is still there",
    """
    INSERT INTO metadata (tag, study_uid, at, length, checksum, size, body)
    SELECT $1, $2, CAST($3 AS DOUBLE PRECISION), CAST($4 AS BIGINT), CAST($5 AS BIGINT), CAST($6 AS BIGINT), $7
    WHERE EXISTS (SELECT 1 FROM studies WHERE uid = $2)
    ON CONFLICT (tag) DO NOTHING
    """,
)
SIZE_OF_METADATA = Query("size_of_metadata: bytes that are kept", "SELECT COALESCE(SUM(size), 0) FROM metadata")
OLDEST_METADATA = Query(
    "oldest_metadata: some, with their sizes", "SELECT tag, size FROM metadata ORDER BY at LIMIT $1"
)
FORGET_METADATA = Query("forget_metadata: by its tag", "DELETE FROM metadata WHERE tag = $1")
FORGET_METADATA_OF_STUDY = Query("forget_metadata_of_study: by its UID", "DELETE FROM metadata WHERE study_uid = $1")

# --- searches: the heads and parts that search.py and matching.py put together ---------------------------------------

SEARCH = {
    "patient": "SELECT {columns} FROM patients p",
    "study": "SELECT {columns} FROM studies t",
    "series": "SELECT {columns} FROM series s JOIN studies t ON t.id = s.study",
    "instance": "SELECT {columns} FROM instances i JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study",
}
SEARCH_FROM_STUDIES = {
    **SEARCH,
    "series": "SELECT {columns} FROM studies t CROSS JOIN series s ON s.study = t.id",
    "instance": "SELECT {columns} FROM studies t CROSS JOIN series s ON s.study = t.id "
    "CROSS JOIN instances i ON i.series = s.id",
}
"""The same study by study, in the order of the index on their dates: a page is done as soon as it is full, and where
little matches, it is studies that are gone through and never instances."""
ORDER = {
    "patient": "ORDER BY p.id DESC",
    "study": "ORDER BY t.date DESC, t.id DESC",
    "series": "ORDER BY t.date DESC, t.id DESC, s.id DESC",
    "instance": "ORDER BY t.date DESC, t.id DESC, s.id DESC, i.id DESC",
    "series of a study": "ORDER BY s.number, s.id",
    "instances of a study": "ORDER BY s.number, s.id, i.number, i.id",
}
POSITION = {
    "patient": ("p.id", "<"),
    "study": ("t.date, t.id", "<"),
    "series": ("t.date, t.id, s.id", "<"),
    "instance": ("t.date, t.id, s.id, i.id", "<"),
    "series of a study": ("s.number, s.id", ">"),
    "instances of a study": ("s.number, s.id, i.number, i.id", ">"),
}
"""Of each order: the columns that say a row's place in it, and how the rows after a place compare with it."""
OF_PATIENTS = "p.id IN (SELECT t.patient FROM studies t WHERE {conditions})"
"""Patients with a study that matches."""
BELOW_BY_UID = {
    ("study", "series"): "t.id IN (SELECT s.study FROM series s WHERE {conditions})",
    ("study", "instance"): "t.id IN (SELECT s.study FROM instances i JOIN series s ON s.id = i.series "
    "WHERE {conditions})",
    ("series", "instance"): "s.id IN (SELECT i.series FROM instances i WHERE {conditions})",
}
"""From the level of a search and a level below it: rows with something there that matches, where a UID is among the
conditions, and so little does."""
BELOW = {
    ("study", "series"): "EXISTS (SELECT 1 FROM series s WHERE s.study = t.id AND {conditions})",
    ("study", "instance"): "EXISTS (SELECT 1 FROM series s JOIN instances i ON i.series = s.id "
    "WHERE s.study = t.id AND {conditions})",
    ("series", "instance"): "EXISTS (SELECT 1 FROM instances i WHERE i.series = s.id AND {conditions})",
}
"""The same where much may match: who looks from above stops at the first."""
SOP_CLASSES = (
    "COALESCE((SELECT group_concat(c.uid, '\\') FROM (SELECT DISTINCT ci.sop_class_uid AS uid FROM series cs "
    "JOIN instances ci ON ci.series = cs.id WHERE cs.study = t.id) c), '')"
)
OF_SOP_CLASS = (
    "EXISTS (SELECT 1 FROM series cs JOIN instances ci ON ci.series = cs.id WHERE cs.study = t.id AND {condition})"
)
PATIENT_COUNTS = (
    "(SELECT COUNT(*) FROM studies o WHERE o.patient = {patient})",
    "(SELECT SUM(o.series_count) FROM studies o WHERE o.patient = {patient})",
    "(SELECT SUM(o.instance_count) FROM studies o WHERE o.patient = {patient})",
)
INSTANCES_OF_ROW = {
    "patient": "(SELECT SUM(o.instance_count) FROM studies o WHERE o.patient = p.id)",
    "study": "t.instance_count",
    "series": "s.instance_count",
    "instance": "1",
}
TOTAL = "SELECT COALESCE(SUM(x.n), 0) FROM ({search} LIMIT {limit}) x"
_UNDER = "SELECT i.id, i.key, i.data_set_offset, i.size, i.transfer_syntax_uid FROM instances i"
_UNDER_ORDER = "AND i.id > $2 ORDER BY i.id LIMIT $3"
INSTANCES_UNDER = {
    level: Query(f"instances_under: a page of the instances of a {level}, by row number", sql)
    for level, sql in {
        "patient": f"{_UNDER} JOIN series s ON s.id = i.series JOIN studies t ON t.id = s.study "
        f"WHERE t.patient = $1 {_UNDER_ORDER}",
        "study": f"{_UNDER} JOIN series s ON s.id = i.series WHERE s.study = $1 {_UNDER_ORDER}",
        "series": f"{_UNDER} WHERE i.series = $1 {_UNDER_ORDER}",
        "instance": f"{_UNDER} WHERE i.id = $1 {_UNDER_ORDER}",
    }.items()
}
NAMED = "t.id IN (SELECT n.study FROM person_names n WHERE n.tag = {tag} AND ({condition}))"
"""Studies with a person name; `condition` is about n.name."""
NOT_NAMED = "t.id NOT IN (SELECT n.study FROM person_names n WHERE n.tag = {tag})"

# --- summary ------------------------------------------------------------------------------------------------------

STATISTICS = Query(
    "statistics: how much there is",
    """
    SELECT (SELECT COUNT(*) FROM patients), COUNT(*), COALESCE(SUM(series_count), 0),
        COALESCE(SUM(instance_count), 0), COALESCE(SUM(size), 0)
    FROM studies
    """,
)

_RECENT = """
    SELECT t.id, t.last_received, t.public_id, t.uid, t.patient_id, t.patient_birth_date, t.patient_sex, t.date,
        t.time, t.accession_number, t.description, t.modalities, t.series_count, t.instance_count, t.size,
        t.attributes, t.flags
    FROM studies t"""
RECENT_ORDER = "ORDER BY t.last_received DESC, t.id DESC"
RECENT_AFTER = "(t.last_received, t.id) < ({last_received}, {id})"
NAMED_LIKE = "t.id IN (SELECT n.study FROM person_names n WHERE n.tag = {tag} AND n.name LIKE {pattern} ESCAPE '!')"


def recent(conditions: Sequence[str], limit: str) -> Query:
    """Studies by when they last received an instance, newest first."""
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    return Query("recent: studies, newest first", f"{_RECENT}{where} {RECENT_ORDER} LIMIT {limit}")


# --- rebuilding ---------------------------------------------------------------------------------------------------

KEEP_ORIGINS = Query(
    "keep_origins: puts aside where the files came from",
    """
    INSERT INTO rebuild_origins (key, version, received_at, via, calling_aet, called_aet, peer)
    SELECT key, version, received_at, via, calling_aet, called_aet, peer FROM instances WHERE true
    ON CONFLICT (key) DO NOTHING
    """,
)
CLEAR = tuple(
    Query(f"clear_{table}: for rebuilding", f"DELETE FROM {table}")
    for table in ("metadata", "person_names", "instances", "series", "studies", "patients")
)
FIND_ORIGIN = Query(
    "find_origin: where a file came from, as it was put aside",
    "SELECT version, received_at, via, calling_aet, called_aet, peer FROM rebuild_origins WHERE key = $1",
)
COUNT_ORIGINS = Query(
    "count_origins: more than none while a rebuild is under way", "SELECT COUNT(*) FROM rebuild_origins"
)
FORGET_ORIGINS = Query("forget_origins: the rebuild is done", "DELETE FROM rebuild_origins")
SET_VERSION = Query(
    "set_version: of an instance that a rebuild has found again", "UPDATE instances SET version = $2 WHERE key = $1"
)
