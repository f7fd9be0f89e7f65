"""DICOMweb (PS3.18): QIDO-RS and WADO-RS. Searching and reading themselves are in `archive/`."""
