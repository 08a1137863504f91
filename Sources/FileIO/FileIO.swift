// FileIO: see ARCHITECTURE.md.
