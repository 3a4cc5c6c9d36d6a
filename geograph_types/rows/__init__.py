"""What a row is, every rule of its fields, and where rows come from."""
