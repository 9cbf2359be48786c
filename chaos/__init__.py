"""The kill campaign: a hostile workload, faults from a seed, an external journal, and a checker that compares."""
