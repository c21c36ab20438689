"""The dashboard: draws what a run says of itself, and passes keys on to it. It never runs a task."""
