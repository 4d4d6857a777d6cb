"""Ingest: crawl files into the lanes of `raw`, each record exactly once however often it is restarted."""
