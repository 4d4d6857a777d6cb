"""What a language model is asked and what is made of its words: pure text, no connection, no log."""
