"""One small function an operation, named like its operationId: the call in, the gateway asked, the answer out."""
