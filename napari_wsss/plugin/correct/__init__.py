"""The Correct dock: a region of a result painted anew, the original untouched."""
