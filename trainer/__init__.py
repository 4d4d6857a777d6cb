"""Pre-training without end on the pairs as they come: select, budget, pack, train, checkpoint, ledger."""
