//! Segments: their names, header block, and making and recycling them.
