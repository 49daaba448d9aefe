"""Which labels are suspected and why, in words: a kind of task a file, over pure modules that weigh the evidence."""
