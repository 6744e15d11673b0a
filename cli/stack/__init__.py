"""The local stack: every real part of Basin under one supervisor, with its state in one folder."""
