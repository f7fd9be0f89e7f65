"""Worklist, performed procedure steps and storage commitment, as use cases shared by DIMSE and the web."""
