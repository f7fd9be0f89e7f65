"""A DICOM gateway: takes in images over DIMSE and HTTP, keeps them safe, serves them to both worlds."""

__version__ = "0.1.0"
