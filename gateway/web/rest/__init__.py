"""The management API in the manner of Orthanc's REST API: same URIs, same names."""
