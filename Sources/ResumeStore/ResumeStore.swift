// ResumeStore: see ARCHITECTURE.md.
