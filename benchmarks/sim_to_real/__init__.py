"""The simulator against reality: a fleet on a device that is not affine, and a worker on this machine's own cores."""
