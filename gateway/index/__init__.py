"""Patient, study, series and instance rows."""
