"""Tasks that are run by a command: an agent's own program, in a process and a place of its own."""
