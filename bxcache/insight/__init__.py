"""What builds leave behind, and what can be told from it. Pure: records in, views out.

`record` is the format, `history` the stages with their layers, `comparison` two histories side by
side, `chains` what a cache tells that nobody left a record of.
"""
