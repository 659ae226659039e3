"""The tutorial preset in JAX: a whole epoch as one jitted `lax.scan`, with optax's Adam and clipping.

What a user would write who wants the fastest CPU training loop that JAX offers: images stay on the device as uint8,
order and noise of an epoch are drawn in bulk, and nothing is read back before the epoch ends. It needs jax and optax,
which are no dependencies: `make bench-peers` installs them into an environment of their own, and `train_speed.py`
runs this file there.

Speaks a protocol of lines on a pipe: for each line on standard input one epoch is trained, and its mean loss in nats
per image is printed. The first line that it prints, before any epoch, names the versions; compilation is over by then.

    python benchmarks/peers/jax_epochs.py IMAGES.npy     # uint8 (N, 784)
"""

import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

SIZES = (784, 256, 256)
LATENT = 32
BATCH = 128


def dense(key, inputs, outputs):
    """Weight (inputs, outputs) and bias (outputs,), as torch's `nn.Linear` draws them."""
    bound = inputs**-0.5
    weight_key, bias_key = jax.random.split(key)
    weight = jax.random.uniform(weight_key, (inputs, outputs), minval=-bound, maxval=bound)
    return weight, jax.random.uniform(bias_key, (outputs,), minval=-bound, maxval=bound)


def start(seed, mean):
    """Parameters; the output bias starts at the logit of the mean image, as in vae-train."""
    keys = iter(jax.random.split(jax.random.key(seed), 6))
    encoder = [dense(next(keys), 784, 256), dense(next(keys), 256, 256), dense(next(keys), 256, 2 * LATENT)]
    decoder = [dense(next(keys), LATENT, 256), dense(next(keys), 256, 256), dense(next(keys), 256, 784)]
    clipped = jnp.clip(mean, 0.5 / 255, 1 - 0.5 / 255)
    decoder[-1] = (decoder[-1][0], jnp.log(clipped / (1 - clipped)))
    return encoder, decoder


def network(layers, x):
    """Fully connected layers with ReLU between them: (B, inputs) → (B, outputs)."""
    for weight, bias in layers[:-1]:
        x = jax.nn.relu(x @ weight + bias)
    weight, bias = layers[-1]
    return x @ weight + bias


def negative_elbo(parameters, image, noise):
    """Sum over the batch, in nats. image: float32 (B, 784) in [0, 1]; noise: (B, LATENT)."""
    encoder, decoder = parameters
    mean, log_var = jnp.split(network(encoder, image), 2, axis=1)
    logits = network(decoder, mean + jnp.exp(0.5 * log_var) * noise)
    reconstruction = (jax.nn.softplus(logits) - image * logits).sum()
    return reconstruction + 0.5 * (mean**2 + jnp.exp(log_var) - 1 - log_var).sum()


optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))


@partial(jax.jit, donate_argnums=0)
def epoch(state, images, key):
    """One pass over `images`, uint8 (N, 784): the new state and the summed loss."""
    order_key, noise_key = jax.random.split(key)
    shuffled = images[jax.random.permutation(order_key, len(images))]
    noise = jax.random.normal(noise_key, (len(images), LATENT))

    def step(state, batch):
        pixels, noise = batch
        parameters, memory = state
        loss, gradient = jax.value_and_grad(negative_elbo)(parameters, pixels.astype(jnp.float32) / 255, noise)
        updates, memory = optimizer.update(gradient, memory)
        return (optax.apply_updates(parameters, updates), memory), loss

    whole = len(images) // BATCH * BATCH
    batches = [array[:whole].reshape(-1, BATCH, array.shape[1]) for array in (shuffled, noise)]
    state, losses = jax.lax.scan(step, state, tuple(batches))
    total = losses.sum()
    if whole < len(images):
        state, last = step(state, (shuffled[whole:], noise[whole:]))
        total += last
    return state, total


def main():
    """Compile, then train an epoch for each line that comes in."""
    images = jnp.asarray(np.load(sys.argv[1]))
    parameters = start(0, images.mean(axis=0, dtype=jnp.float32) / 255)
    state = parameters, optimizer.init(parameters)
    compiled = epoch.lower(state, images, jax.random.key(0)).compile()
    print(f"jax {jax.__version__}, optax {optax.__version__}, {jax.devices()[0].platform}", flush=True)
    for number, _ in enumerate(sys.stdin, start=1):
        state, total = compiled(state, images, jax.random.key(number))
        print(float(total) / len(images), flush=True)


if __name__ == "__main__":
    main()
