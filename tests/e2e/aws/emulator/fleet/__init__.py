"""moto, an emulator of AWS's API, with corrections, and with stand-ins for what it does not do.

Nothing here is AWS. `corrections` corrects answers of moto that AWS's provider would treat as differences. `targets` and
`scaling` are stand-ins for the health checks of target groups and for AutoScaling. They follow AWS's documentation in
everything that the tests need.
"""
