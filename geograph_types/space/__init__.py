"""The page that a visitor sees, and its API."""
