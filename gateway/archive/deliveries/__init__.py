"""What goes where: deliveries as rows, made by rules, worked off as jobs, and what a person may do about them.

Doing one is `gateway.delivery`'s; which rule matches `gateway.routing`'s.
"""
