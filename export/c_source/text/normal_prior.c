/* ---- Prior: N(0, 1) in every latent, z = n * temperature ----------------------------------------------------------- */

static void vae_prior(uint64_t seed, uint64_t index, int64_t label, float temperature, float *z) {
    int i;
    (void)label;
    vae_noise(seed, index, z);
    for (i = 0; i < VAE_LATENT_DIM; ++i) {
        z[i] = z[i] * temperature;
    }
}
