"""The records of builds, and everything that they show.

`record` is the format, `history` shows the stages with their layers, `comparison` two histories
side by side, and `chains` the layers of a cache without a record.
"""
