"""Work for a service that hands out photos and takes their labels."""
