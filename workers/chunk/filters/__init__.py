"""Which documents are worth segmenting: Gopher, C4 and FineWeb rules, blocklists, opt-outs, all by name."""
