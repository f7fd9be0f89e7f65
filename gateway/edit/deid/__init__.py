"""De-identification by PS3.15 Annex E: the table, its options, and the replacement values."""
