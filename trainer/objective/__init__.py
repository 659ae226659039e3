"""What training minimises: likelihoods, the bounds made of them, and the score on held-out images."""
