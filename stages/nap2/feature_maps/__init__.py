"""What the models are given: feature maps and the controls made of them, streamed from the store."""
