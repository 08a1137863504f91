// TestKit: see ARCHITECTURE.md.
