"""The management API, with the URIs and names of Orthanc's REST API."""
