"""The official comparison, from nothing: rows, dataset, two recipes, the official weights beside them, one table."""
