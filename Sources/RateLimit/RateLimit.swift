// RateLimit: see ARCHITECTURE.md.
