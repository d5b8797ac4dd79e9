"""Tables and pictures of finished runs, from their saved ranks alone."""
