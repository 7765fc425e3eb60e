"""A local store on disk: an OCI layout with several scopes, and bxcache's own folder in it.

::

    DIR/oci-layout  DIR/index.json  DIR/blobs/sha256/   a BuildKit cache, readable by plain buildx
    DIR/.bxcache/version                                marks the directory as a store
    DIR/.bxcache/scopes/NAME@DIGEST.json                the journal: one page per scope
    DIR/.bxcache/records/NAME.jsonl                     records of its last builds, one per line
    DIR/.bxcache/reserve                                space to free for a change on a full disk
    DIR/.bxcache/lock, holder                           held for milliseconds, during a change
    DIR/.bxcache/staging/ID/                            a running build's own layout
    DIR/.bxcache/staging/ID.lock                        held by the building process

A build never touches the store while it runs. Its import is hard-linked into its staging layout,
buildx exports there, and on success the new blobs are linked back and the index is replaced in one
step. Blobs are never written to, so sharing them is safe.

No link in a store is followed: folders are opened one inside another, and every operation happens
in an open folder. Only the store's own path may be a link. Docker gets the path of a staging
layout: a new folder with an unguessable name, which is read afterwards through its open handle.
Anyone who may write to the store can put a link there while docker runs; docker follows it.

The staging layout of a killed build is removed once its lock is free: at once if it ran on this
machine since the last boot, otherwise a day after its last change. So several machines may use one
store if the mount shares `flock` between them (NFS since Linux 2.6.12, unless mounted with `nolock`
or `local_lock`). If it does not, two machines can overwrite each other's change; no running build
loses its layout.

From the ground up: `folders` and `locks`; the formats in `layout` and `journal`; `catalog` changes
these together; `eviction` decides; `staging`, `collection`, `verification` and `archive` with
`packing` act; `store` is the door.
"""
