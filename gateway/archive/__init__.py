"""The use cases that DIMSE and web share."""
