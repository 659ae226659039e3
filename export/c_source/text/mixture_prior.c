/* ---- Prior, version 1: a mixture of diagonal Gaussians -------------------------------------------------------------
   Alias tables (Walker 1977; Vose 1991), a row for any class and one for each class, choose a component by word 0 of
   block 0 of stream 2. Then z = (n * temperature + mean / deviation) * deviation. */

static void vae_prior(uint64_t seed, uint64_t index, int64_t label, float temperature, float *z) {
    uint32_t words[4], slot, component;
    size_t place;
    const float *shift, *scale;
    int i;
    vae_philox(seed, index, 0, 2, words);
    slot = words[0] >> VAE_SLOT_SHIFT;
    place = (size_t)(label + 1) * VAE_SLOTS + slot;
    component = (words[0] & 0xFFFFu) < vae_thresholds[place] ? slot : vae_aliases[place];
    shift = vae_shift.numbers + (size_t)component * VAE_LATENT_DIM;
    scale = vae_deviation.numbers + (size_t)component * VAE_LATENT_DIM;
    vae_noise(seed, index, z);
    for (i = 0; i < VAE_LATENT_DIM; ++i) {
        z[i] = (z[i] * temperature + shift[i]) * scale[i];
    }
}
