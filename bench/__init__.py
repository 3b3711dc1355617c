"""Benchmark of the gateway beside nginx and beside plain Connexion; start with README.md."""
