"""De-identification by PS3.15 Annex E: the table and its options, and what is put in the place of values."""
