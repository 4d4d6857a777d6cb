"""What the factory says about itself: the metric catalogue and its endpoints."""
