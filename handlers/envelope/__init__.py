"""The enveloped REST dialect, under `/api/v1`."""
