"""`onebit bench engine`: the whole path from samples to log-probabilities. Peers need the extra "bench"."""
