"""Losses that stand in place of the cross-entropy, one file per published loss; the catalogue makes methods of them."""
