"""Load for a server on this machine: real-time streams, files, and both for hours. See docs/sizing.md."""
