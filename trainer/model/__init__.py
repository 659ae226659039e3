"""The variational autoencoder and its encoder and decoder networks."""
