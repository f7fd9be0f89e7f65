"""Chaos: a gateway under mixed load, hurt in every way we know, and judged by what it has said and what it has.

`ledger` knows what was said, `load` says it, `sinks` are where deliveries go, `faults` hurt, `judge` looks, `stage` and
`campaign` put them together, `tally` counts. Nothing here reads a database or a store: the gateway is seen through
DIMSE, DICOMweb, REST and its command line alone, as its users see it, so that another store or database is judged by
the same program.
"""
