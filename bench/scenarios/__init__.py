"""The scenarios, one a module or two a module where they share a client; each is a function from Options to a Report."""
