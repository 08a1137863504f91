// Binlog: see ARCHITECTURE.md.
