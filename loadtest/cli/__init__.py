"""The command `dicom-gateway-loadtest`, one file for each of its commands."""

from loadtest.cli.app import app, main

__all__ = ["app", "main"]
