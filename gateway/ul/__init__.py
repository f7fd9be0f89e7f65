"""PS3.8, the upper layer. No I/O, no clock: bytes and `now` in; events, bytes and a deadline out.

`association.Association` is the front door; `events` is what comes out of it, `pdu` and `items` what goes over the
wire, `negotiation` what is agreed on, `states` the state table.
"""
