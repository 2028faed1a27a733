"""Image data sets: official files checked and read into NumPy arrays (paper, Appendix D; SPEC R12). No torch here."""
