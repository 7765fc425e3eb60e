"""The formats that a store and a registry share: documents, chains of layers, merging."""
