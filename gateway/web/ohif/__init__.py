"""The OHIF viewer: putting its published package in place (`dicom-gateway install-ohif`) and serving it."""
