"""A load generator for any DICOM node or DICOMweb server. Imports nothing of the gateway above `net/`."""
