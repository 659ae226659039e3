/* ---- Self-test ------------------------------------------------------------------------------------------------------ */

/* FNV-1a over bytes, low byte of a number first: the same on every byte order. */
static uint32_t vae_hash(uint32_t hash, uint32_t word, int bytes) {
    for (; bytes > 0; --bytes, word >>= 8) {
        hash = (hash ^ (word & 0xFFu)) * 16777619u;
    }
    return hash;
}

static uint32_t vae_hash_floats(uint32_t hash, const float *x, size_t count) {
    size_t i;
    for (i = 0; i < count; ++i) {
        hash = vae_hash(hash, vae_bits(x[i]), 4);
    }
    return hash;
}

/* Products and sums must round by themselves, to nearest, and tiny numbers must not be flushed to zero. */
static int vae_test_environment(void) {
    volatile float a = 1.00000012f, tiny = 1.17549435e-38f, half = 0.5f, one = 1.0f;
    const float square = a * a, fused = a * a - square;
    volatile float subnormal = tiny * half, up = one + 6.1e-8f, down = -one - 6.1e-8f;
    return fused == 0.0f && subnormal > 0.0f && up == 1.00000012f && down == -1.00000012f ? VAE_OK : VAE_FAILED_ENVIRONMENT;
}

int vae_self_test(void) {
    static const uint64_t seeds[3] = {0, 7, VAE_LARGEST}, indices[3] = {0, 4294967301u, VAE_LARGEST};
    const uint32_t start = 2166136261u;
    uint32_t latents = start, images = start, samples = start;
    float z[VAE_LATENT_DIM], image[VAE_PIXELS];
    uint8_t pixels[VAE_PIXELS];
#if VAE_HAS_ENCODER
    uint32_t posteriors = start, reconstructions = start;
    float log_var[VAE_LATENT_DIM];
#endif
    int test, i;
    if (vae_test_environment() != VAE_OK) {
        return VAE_FAILED_ENVIRONMENT;
    }
    for (test = 0; test < 3; ++test) {
        vae_latents(seeds[test], indices[test], -1, 1.0f, z);
        latents = vae_hash_floats(latents, z, VAE_LATENT_DIM);
        vae_decode(z, image);
        images = vae_hash_floats(images, image, VAE_PIXELS);
        vae_sample(seeds[test], indices[test], -1, 1.0f, pixels);
        for (i = 0; i < VAE_PIXELS; ++i) {
            samples = vae_hash(samples, pixels[i], 1);
        }
#if VAE_HAS_ENCODER
        vae_encode(image, z, log_var);
        posteriors = vae_hash_floats(posteriors, z, VAE_LATENT_DIM);
        posteriors = vae_hash_floats(posteriors, log_var, VAE_LATENT_DIM);
        vae_reconstruct(pixels, pixels);
        for (i = 0; i < VAE_PIXELS; ++i) {
            reconstructions = vae_hash(reconstructions, pixels[i], 1);
        }
#endif
    }
    if (latents != VAE_EXPECTED_LATENTS) {
        return VAE_FAILED_LATENTS;
    }
    if (images != VAE_EXPECTED_IMAGES) {
        return VAE_FAILED_DECODER;
    }
    if (samples != VAE_EXPECTED_SAMPLES) {
        return VAE_FAILED_PIXELS;
    }
#if VAE_HAS_ENCODER
    if (posteriors != VAE_EXPECTED_POSTERIORS) {
        return VAE_FAILED_ENCODER;
    }
    if (reconstructions != VAE_EXPECTED_RECONSTRUCTIONS) {
        return VAE_FAILED_RECONSTRUCTION;
    }
#endif
    return VAE_OK;
}
