// SyncProtocol: see ARCHITECTURE.md.
