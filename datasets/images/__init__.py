"""From image files to pixels: decoding, the memory-mapped cache of decoded images, and what could not be decoded."""
