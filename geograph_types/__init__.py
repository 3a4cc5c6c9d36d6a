"""The library behind the commands: rows, dataset, training, evaluation, prediction, hub, space.

Importing it imports nothing else: each room loads what it needs when it is used.
"""

__version__ = "2.0.0"
