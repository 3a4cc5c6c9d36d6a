"""Photos that a dataset lacks, or whose tags are doubtful, among millions of rows with vectors."""
