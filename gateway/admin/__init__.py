"""Administration of a whole archive: backup, reindex, deletion, de-identification of stored instances."""
