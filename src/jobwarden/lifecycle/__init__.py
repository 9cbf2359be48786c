"""The verbs: every change of a job, an attempt or a batch, each in one transaction."""
