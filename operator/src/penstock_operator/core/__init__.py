"""Pure functions of the operator: no clock, no I/O, no randomness, no asyncio."""
