"""From embeddings to ranks, from ranks to numbers."""
