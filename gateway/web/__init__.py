"""The HTTP edge: DICOMweb, management, pages."""
