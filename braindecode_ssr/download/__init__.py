"""Files from the network: whole and verified, or not there at all."""
