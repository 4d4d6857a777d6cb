"""The embedded engine: fills and answers by copying; one file a rule (design: a to g)."""
