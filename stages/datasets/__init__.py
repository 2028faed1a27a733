"""Image data sets: official files, checked and read into NumPy arrays (App. D; R12). No torch."""
