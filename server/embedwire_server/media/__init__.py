"""Files of inputs: in memory or on disk, and how long they last."""
