"""Inside the child: from a claim on a socket to an outcome that is never lost."""
