"""A kind cluster to test on: with the official node image, or with one made here where no image registry answers."""
