"""`demo`."""

COMMANDS = ()
