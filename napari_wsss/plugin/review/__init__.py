"""The Review dock: the most doubtful tiles, one after the other."""
