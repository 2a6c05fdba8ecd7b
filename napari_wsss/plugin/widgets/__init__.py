"""Qt widgets: they show what a presenter says and pass on what the user does; nothing is computed here."""
