"""The backends: which flags docker gets for each cache, and how the cache is saved and read.

From the ground up:

    cache_result    the state of one cache after the build
    holders         read scopes and records from stores, directories and registries
    base            the protocol that every backend implements
    cache_key       a key for CI systems that store files by key
    location        the local store and the registries of a project
    transfers       match BuildKit's transfers to caches, and run docker once more to save one
    local_save      save to a store: several nodes, the work behind each layer, the limits
    local           the store as a backend
    registry_tag    a scope of a registry, before and after it is saved
    inline_push     push stages as images
    inline_stages   the stages to push, and one image that contains all their layers
    registry_save   save a scope to a registry, or leave it as it is
    registry        a registry as a backend
    inline          the cache inside images as a backend
    declared        the table of backends
"""
