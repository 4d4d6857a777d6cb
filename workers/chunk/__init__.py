"""chunk: a crawled payload becomes clean text in one language, cut into segments that fit an engine."""
