"""The headless engine: it never imports the dashboard, Textual or rich."""
