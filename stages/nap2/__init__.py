"""The paper's predictor: feature maps, two autoencoders, embeddings, a bidirectional GRU."""
