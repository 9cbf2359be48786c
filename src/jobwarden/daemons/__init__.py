"""The roles that run: each a loop that knows how to start, beat, back off, drain and stop."""
