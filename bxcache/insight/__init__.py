"""The records of builds, and everything that they show.

`record` is the format, `record_steps` makes its parts, `history` shows the stages with their
layers, `chains` the layers of a cache without a record, and `report` the figures of a build.
"""
