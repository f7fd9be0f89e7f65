"""The list of backups."""

from __future__ import annotations

from gateway.database.database import Query

NOTE_BACKUP = Query(
    "note_backup: one that was made",
    "INSERT INTO backups (folder, made_at) VALUES ($1, $2) ON CONFLICT (folder) DO UPDATE SET made_at = $2",
)
LIST_BACKUPS = Query("list_backups: by folder", "SELECT folder FROM backups ORDER BY folder")
