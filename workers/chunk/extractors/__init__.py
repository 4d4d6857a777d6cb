"""HTML to the text of its main content: one interface, a file for each extractor, rules that choose."""
