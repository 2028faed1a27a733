"""Two autoencoders a model: feature maps to 128 values each (paper 3.3, App. C.1)."""
