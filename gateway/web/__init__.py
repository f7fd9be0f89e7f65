"""HTTP: DICOMweb, management, pages."""
