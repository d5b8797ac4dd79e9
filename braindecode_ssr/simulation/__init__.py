"""A seeded simulator of a THINGS-style experiment: images, design, eye, brain, noise, ceiling, files."""
