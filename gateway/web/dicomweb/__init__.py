"""DICOMweb (PS3.18): QIDO-RS, WADO-RS, STOW-RS and WADO-URI. `retrieve/` searches and reads."""
