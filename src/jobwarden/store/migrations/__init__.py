"""The history of the schema, a revision a file."""
