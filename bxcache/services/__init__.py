"""Caches in cache services, over their own APIs: objects of S3 and Azure, entries of GitHub."""
