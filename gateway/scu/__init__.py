"""The service class user: verification, storage, query, retrieve, commitment and MPPS requests to other nodes
(PS3.4)."""
