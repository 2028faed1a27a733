"""Search spaces: what networks there are, how one is built, and what it looks like without being trained."""
