"""A local store on disk: an OCI layout that holds several scopes, and bxcache's own folder in it.

::

    DIR/oci-layout  DIR/index.json  DIR/blobs/sha256/   a BuildKit cache, readable by plain buildx
    DIR/.bxcache/version                                marks the directory as a store
    DIR/.bxcache/scopes/NAME@DIGEST.json                the journal: a page for each scope
    DIR/.bxcache/records/NAME.jsonl                     what its last builds left, a line for each
    DIR/.bxcache/reserve                                room for a change on a full disk
    DIR/.bxcache/lock, holder                           held for the milliseconds of a change
    DIR/.bxcache/staging/ID/                            a running build's own layout
    DIR/.bxcache/staging/ID.lock                        held by the process that builds

A build never touches the store while it runs. What it imports is hard-linked into its staging
layout, buildx exports there, and on success the new blobs are linked back and the index is
replaced in one step. Blobs are never written to, so sharing them is safe.

No link in a store is followed: folders are opened one in another, and all is done in an open
folder. Only the store's own path may be a link. Docker is given the path of a staging layout: a
folder that is new, has a name that nobody could know, and is read afterwards as it was opened
before. Whoever may write to the store can put a link there while docker runs; docker follows it.

What a killed build leaves is removed once its lock is free: at once where it ran on this machine
since the machine was started, and a day after its last change otherwise. So several machines may
use one store where the mount shares `flock` between them (NFS since Linux 2.6.12, unless it is
mounted with `nolock` or `local_lock`). Where it does not, a change can be lost to that of another
machine; no running build loses its layout.

From the ground up: `folders` and `locks`; the formats in `documents`, `layout`, `journal` and
`records`; `catalog`, the three changed together; what is decided in `chains` and `eviction`; what
is done in `staging`, `committing`, `mending`, `collection`, `verification`, `archive` with
`packing`, and `adoption`; `store` is the door.
"""
