"""What fills the terminal: the main view, one task, the groups of errors, the log, help, and the dialogs."""
