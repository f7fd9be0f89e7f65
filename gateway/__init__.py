"""A DICOM gateway: receives images over DIMSE and HTTP, stores them durably, and serves them over both."""

__version__ = "0.1.0"
