"""An application that does not import."""

raise RuntimeError("no such service: 'billing'")
