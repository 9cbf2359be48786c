"""Pure values and rules: no clock, no database, no process, no chance."""
