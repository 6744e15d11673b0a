"""Where images come from: the protocol, the order of training, the sources."""
