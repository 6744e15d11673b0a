"""`basin`: the Python client, the command line, and the local stack (`basin up`)."""
