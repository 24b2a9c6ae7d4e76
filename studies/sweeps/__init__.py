"""The paper's sweeps: one file each, which registers it; nothing else changes."""
