"""The log and everything that touches it: records, lanes, topics, books, broker, ingest, command line."""
