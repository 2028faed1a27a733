"""Image data sets: official files, checked and read into NumPy arrays without torch (paper, App. D; SPEC R12)."""
