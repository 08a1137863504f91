// Keyspace: see ARCHITECTURE.md.
