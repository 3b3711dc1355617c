"""The load generators: wrk for whatever can be counted in requests, small clients of our own for the rest."""
