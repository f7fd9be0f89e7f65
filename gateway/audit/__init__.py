"""The audit log: who saw, searched, changed, sent and deleted what, as a chain of hashes and as DICOM messages."""
