"""A model and rows → figures with intervals, pictures, a report."""
