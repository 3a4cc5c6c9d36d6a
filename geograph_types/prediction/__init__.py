"""What is asked → answers in files, stopped and gone on with."""
