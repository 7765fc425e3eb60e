"""Names of Azure Blob Storage, for everybody who need not open it."""

from __future__ import annotations

KEY = "AZURE_STORAGE_KEY"
"""The variable with an account's key, as for Azure's own command line.
https://learn.microsoft.com/azure/storage/blobs/authorize-data-operations-cli"""
CONTAINER = "buildkit-cache"
"""BuildKit's default container:
https://github.com/moby/buildkit/blob/v0.32.2/cache/remotecache/azblob/utils.go"""
