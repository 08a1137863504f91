// PikaStorage: see ARCHITECTURE.md.
