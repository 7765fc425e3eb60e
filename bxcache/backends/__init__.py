"""The backends: which flags docker gets for each cache, and how the cache is saved and read.

From the ground up:

    cache_result    the state of one cache after the build
    holders         read scopes and records from stores, directories and registries
    base            the protocol that every backend implements
    attributes      attributes of cache flags that several backends share
    cache_key       a key for CI systems that store files by key
    location        the local store and the registries of a project
    read_only       why an untrusted build only reads a backend
    record_content  the values that a backend reads from records
    transfers       match BuildKit's transfers to caches
    export          run docker once more to save one cache
    local_nodes     export platform by platform on builders with several nodes
    local_content   the size of a scope in a store, and the work behind each layer
    local           the store as a backend
    registry_tag    a scope of a registry, before and after it is saved
    inline_push     push stages as images
    inline_stages   the stages to push, and one image that contains all their layers
    registry_save   save a scope to a registry, or leave it as it is
    registry        a registry as a backend
    inline          the cache inside images as a backend
    declared        the table of backends
"""
