"""From configuration, place and what exists to a plan: what a build starts from, and what it saves.

    choice      which caches are imported and saved, and why
    flags       what docker is told of each
    candidates  the caches that a build may start from
    plan        the plan as a value

Pure: what exists is told by the caller.
"""
