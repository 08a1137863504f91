// PikaServer: see ARCHITECTURE.md.
