"""The deployment's own programs. They run where only Python 3.9 or newer is: on the host, and inside the images."""
