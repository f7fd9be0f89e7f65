"""The OHIF viewer: installing its published package (`dicom-gateway install-ohif`) and serving it."""
