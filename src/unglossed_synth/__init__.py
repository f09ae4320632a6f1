"""A generated signed corpus: meanings, what is said of them, how they are signed and drawn.

It is an invented sign language made to exercise the method, and no model of a real one.
"""
