"""The story of a build: `build` reads from top to bottom.

From the ground up:

    options          the options of Python, their types, and how they are read
    request          the caller's options
    result           what a build returns
    destinations     refuse outputs that would be written into a store
    plan             the caches that a build may use, and those it chose, as values
    prepare          configuration, checks, backends and arguments, before docker runs
    choose           which caches to import and save, and why
    target           one image or bake target on its way through a build
    borrowing        results that came from the builder's own cache
    save             judge imports and exports, and save with each backend
    record           the build's record
    finish           save, record, judge and build the result of one target
    build            the story: run docker, retry, finish
    preview          a dry run
    question         what docker answers instead of building
    entry            the entry points: build an image, or preview it
    extract          write the files of a stage from a cache
    batch            build several images at once
    bake_targets     the targets of a bake, their caches, and bake's arguments
    bake_definition  guard the files and the definition of an untrusted bake
    bake             the story for the targets of a bake
    builder_list     all builders, and which one builds use
    builders         bring the declared builder up, remove one
    survey           what a repository builds and on which CI system, for its first config file
"""
