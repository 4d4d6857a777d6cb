"""How pairs are made: the extractive engine, and language models behind one interface."""
