"""The database: one definition of the tables, one door for state, engines that differ by facts."""
