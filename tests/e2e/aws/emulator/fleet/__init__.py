"""moto, an emulator of AWS's API, with corrections, and with stand-ins for what it does not do.

Nothing in here is AWS: `corrections` mends answers of moto that its provider would take for differences; `targets` and
`scaling` stand in for the health checks of target groups and for AutoScaling, as far as the tests need them, after AWS's
documentation.
"""
