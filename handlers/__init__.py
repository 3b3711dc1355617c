"""One small function an operation, named like its operationId: the call in, the answer out."""
