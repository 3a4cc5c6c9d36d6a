"""Model folders, and what is checked and sent when something is published."""
