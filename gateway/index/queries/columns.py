"""Columns shared by statements: the location of an instance, and the patient of a study.

In all of them `t` is a study, `s` a series of it and `i` an instance of that series.
"""

from __future__ import annotations

from typing import Final

OF_ONE_PATIENT: Final = "t.patient = (SELECT p.id FROM patients p WHERE p.public_id = {patient})"
OF_PATIENT: Final = f"({{patient}} = '' OR {OF_ONE_PATIENT})"
"""A study of the patient with this public id; any study if it is ''."""
PATIENT_OF_STUDY: Final = "(SELECT p.public_id FROM patients p WHERE p.id = t.patient)"
LABELS_OF_STUDY: Final = """COALESCE((SELECT '/' || group_concat(l.label, '/') || '/' FROM resource_labels l
    WHERE (l.level = 'study' AND l.public_id = {study}) OR (l.level = 'patient' AND l.public_id = {patient})), '')"""
"""The labels of a study and of its patient, by their public ids, as `studies.labels` has them: `/a/b/`."""
CLASHING_PATIENT: Final = f"CASE t.shared WHEN 0 THEN '' ELSE {PATIENT_OF_STUDY} END"
"""Public id of a study's patient if another patient has a study with the same UID; '' for all others, at no cost."""
COLUMNS: Final = (
    "i.id, t.uid, s.uid, i.uid, i.sop_class_uid, i.transfer_syntax_uid, i.key, i.size, i.data_set_offset, i.version, "
    f"s.number, s.id, i.number, {CLASHING_PATIENT}, t.tenant"
)
"""The location of an instance, for `locate.located` to read. A statement may have more columns after these."""
COLUMN_COUNT: Final = 15
"""The number of columns in COLUMNS."""
TABLES: Final = "studies t JOIN series s ON s.study = t.id JOIN instances i ON i.series = s.id"
