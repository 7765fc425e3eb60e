"""The story of a build: `build` reads from top to bottom.

From the ground up:

    request          the caller's options
    plan             the chosen caches, as a value
    result           what a build returns
    destinations     refuse outputs that would be written into a store
    opening          read the configuration while docker answers
    choose           which caches to import and save, and why
    prepare          checks, backends, plan and arguments before docker runs
    target           one image or bake target on its way through a build
    rescue           find out whether a cache made a build fail, and repair it
    borrowing        results that came from the builder's own cache
    known_layers     the layers that trusted builds have saved
    save             judge imports and exports, and save with each backend
    record           the build's record
    finish           save, record, judge and build the result of one target
    metadata_file    docker's metadata file for the caller
    build            the story: run docker, retry, finish
    preview          a dry run
    entry            the entry points: build an image, or preview it
    extract          write the files of a stage from a cache
    batch            build several images at once
    bake_files       the bake files that an untrusted build may evaluate
    bake_targets     the targets of a bake and their caches
    bake_definition  guard the definition of an untrusted bake
    bake             the story for the targets of a bake
"""
