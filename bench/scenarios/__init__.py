"""The scenarios: each is a function from Options to a Report."""
