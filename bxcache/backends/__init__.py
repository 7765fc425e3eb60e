"""The backends: which flags docker gets for each cache, and how the cache is saved and read.

`base` is the protocol and `declared` the table. `local`, `registry` and `inline` are the backends,
with `local_save`, `registry_save`, `inline_push` and `inline_stages` for what they save.
"""
