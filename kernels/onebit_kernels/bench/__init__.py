"""Benchmarks beside other engines. They need the extra "bench"; nothing else imports them."""
