"""The embeddings of every architecture and snapshot, in stores of their own."""
