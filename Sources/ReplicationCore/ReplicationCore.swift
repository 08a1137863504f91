// ReplicationCore: see ARCHITECTURE.md.
