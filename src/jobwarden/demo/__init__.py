"""The demonstration: a census of the running Python's standard library, with a child killed on the way."""
