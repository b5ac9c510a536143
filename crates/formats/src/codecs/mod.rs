//! From the bytes of a chunk to its elements, and back.
