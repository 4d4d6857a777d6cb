"""The stages between the topics, one folder each, and the runner that carries them over Kafka."""
