"""Tables, in the terminal and in files."""
