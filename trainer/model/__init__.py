"""The variational autoencoder and the networks that it is built of."""
