"""The methods compared with, a module each."""
