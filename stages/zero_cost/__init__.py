"""Zero-cost proxies: what can be read off a network at its initialization, without training it."""
