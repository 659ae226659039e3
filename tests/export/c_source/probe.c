/* Writes to standard output what generator.c makes of a few seeds, in the order that test_same_bits.py expects. */
#include "generator.h"

#include <stdio.h>
#include <string.h>

enum { PIXELS = VAE_CHANNELS * VAE_HEIGHT * VAE_WIDTH, IMAGES = 21 };

static void put(const void *bytes, size_t size) { fwrite(bytes, 1, size, stdout); }

int main(void) {
    static uint64_t indices[IMAGES];
    static uint8_t pixels[IMAGES * PIXELS], reconstruction[PIXELS];
    static float z[IMAGES * VAE_LATENT_DIM], images[IMAGES * PIXELS], image[PIXELS], mean[VAE_LATENT_DIM], log_var[VAE_LATENT_DIM];
    static float means[3 * VAE_LATENT_DIM], log_vars[3 * VAE_LATENT_DIM];
    static uint8_t reconstructions[3 * PIXELS];
    int32_t codes = vae_self_test();
    int i;
    for (i = 0; i < IMAGES; ++i) {
        indices[i] = 4294967291u + 7919u * (uint64_t)i;
    }
    codes |= vae_sample_batch(5, indices, IMAGES, -1, 1.25f, pixels);
    for (i = 0; i < IMAGES; ++i) {
        codes |= vae_latents(5, indices[i], -1, 1.25f, z + i * VAE_LATENT_DIM);
    }
    codes |= vae_decode_batch(z, IMAGES, images);
    put(&codes, sizeof codes);
    put(z, sizeof z);
    put(pixels, sizeof pixels);
    put(images, sizeof images);
    codes = vae_encode_batch(images, 3, means, log_vars) | vae_reconstruct_batch(pixels, 3, reconstructions);
    for (i = 0; i < 3; ++i) {
        codes |= vae_encode(images + i * PIXELS, mean, log_var);
        codes |= vae_reconstruct(pixels + i * PIXELS, reconstruction);
        codes |= memcmp(mean, means + i * VAE_LATENT_DIM, sizeof mean) != 0;
        codes |= memcmp(log_var, log_vars + i * VAE_LATENT_DIM, sizeof log_var) != 0;
        codes |= memcmp(reconstruction, reconstructions + i * PIXELS, PIXELS) != 0;
        put(&codes, sizeof codes);
        put(mean, sizeof mean);
        put(log_var, sizeof log_var);
        put(reconstruction, sizeof reconstruction);
        codes = vae_sample(5, indices[i], -1, 1.25f, reconstruction);
        codes |= vae_decode(z + i * VAE_LATENT_DIM, image);
        put(&codes, sizeof codes);
        put(reconstruction, sizeof reconstruction);
        put(image, sizeof image);
    }
    return 0;
}
