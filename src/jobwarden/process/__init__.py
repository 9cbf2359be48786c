"""What the operating system knows: identities, processes, trees, sockets and the files that outlive a process."""
