"""The Explain dock: what the model looked at, at a place of the slide."""
