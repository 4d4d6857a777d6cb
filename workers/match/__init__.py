"""match: a segment finds the templates whose documents it resembles (paper section 2)."""
