"""What handlers and middleware stand on: settings, errors, upstream, keys, metrics."""

__version__ = "1.0.0"
