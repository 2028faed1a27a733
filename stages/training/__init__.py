"""Training one network: data order, augmentation, determinism, loop and checkpoint (R3, R4, R9, R10)."""
