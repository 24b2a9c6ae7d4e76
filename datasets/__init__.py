"""What is learnt: images, labels, class statistics, and the construction of long-tailed training sets."""
