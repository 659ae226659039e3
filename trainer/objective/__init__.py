"""The training objective: likelihoods, bounds on log p(x), and the score on held-out images."""
