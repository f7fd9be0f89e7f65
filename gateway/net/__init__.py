"""The only DICOM sockets: bytes between the kernel and an association."""
