"""Clocks that a test moves, in place of the machine's."""


class Steps:
    """A clock that only calls, or the test, move."""

    def __init__(self):
        self.time = self.waiting = 0.0

    def now(self):
        return self.time

    def waited(self):
        return self.waiting

    def call(self, seconds):
        """A function that takes so long."""

        def function():
            self.time += seconds

        return function


class Ticks(Steps):
    """A clock on which each look takes a second."""

    def now(self):
        self.time += 1.0
        return self.time
