"""PS3.8, the upper layer. No I/O, no clock: bytes and `now` in; events, bytes and a deadline out.

`association.Association` is the entry point; `events` holds its results, `pdu` and `items` the wire format,
`negotiation` the choice of contexts, `states` the state table.
"""
