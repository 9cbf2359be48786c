"""What the engine costs beside the bare limit of the same machine: ``python -m bench``."""
