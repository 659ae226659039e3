/* Calls every function of generator.h with random and with wrong arguments, on buffers of exactly the promised size, for
   the sanitizers to watch; returns the line of the first broken promise. */
#include "generator.h"

#include <stdlib.h>
#include <string.h>

#define PROMISE(holds)       \
    do {                     \
        if (!(holds)) {      \
            return __LINE__; \
        }                    \
    } while (0)

enum { PIXELS = VAE_CHANNELS * VAE_HEIGHT * VAE_WIDTH, MOST = 40 };

static uint64_t state = 88172645463325252u;

static uint64_t draw(void) { /* Marsaglia 2003, xorshift64 */
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static void fill(void *bytes, size_t size) {
    unsigned char *const at = bytes;
    size_t i;
    for (i = 0; i < size; ++i) {
        at[i] = (unsigned char)draw();
    }
}

static float number(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static int known(int code) { return code <= VAE_OK && code >= VAE_ERROR_VALUE; }

int main(void) {
    const float nan = number(0x7FC00001u), infinity = number(0x7F800000u);
    int round;
    for (round = 0; round < 150; ++round) {
        const size_t count = (size_t)(draw() % MOST);
        uint64_t *const indices = malloc(count * sizeof *indices + 1);
        uint8_t *const pixels = malloc(count * PIXELS + 1), *const one = malloc(PIXELS);
        float *const z = malloc(count * VAE_LATENT_DIM * sizeof *z + 1), *const images = malloc(count * PIXELS * sizeof *images + 1);
        float *const mean = malloc(VAE_LATENT_DIM * sizeof *mean), *const log_var = malloc(VAE_LATENT_DIM * sizeof *log_var);
        float *const image = malloc(PIXELS * sizeof *image), *const moments = malloc(2 * count * VAE_LATENT_DIM * sizeof *moments + 1);
        const float temperature = round % 3 ? number((uint32_t)draw()) : 1.0f;
        const int64_t label = round % 2 ? (int64_t)draw() : -1;
        fill(indices, count * sizeof *indices);
        fill(z, count * VAE_LATENT_DIM * sizeof *z);
        fill(image, PIXELS * sizeof *image);
        fill(one, PIXELS);
        PROMISE(known(vae_sample(draw() >> round % 2, draw() >> round % 2, label, temperature, one)));
        PROMISE(known(vae_latents(draw(), draw(), label, temperature, mean)));
        PROMISE(known(vae_sample_batch(draw() >> 1, indices, count, label, temperature, pixels)));
        PROMISE(known(vae_decode_batch(z, count, images)));
        PROMISE(known(vae_encode(image, mean, log_var)));
        PROMISE(vae_reconstruct(one, one) == VAE_OK);
        PROMISE(known(vae_encode_batch(images, count, moments, moments + count * VAE_LATENT_DIM)));
        fill(pixels, count * PIXELS);
        PROMISE(vae_reconstruct_batch(pixels, count, pixels) == VAE_OK);
        free(moments), free(indices), free(pixels), free(one), free(z), free(images), free(mean), free(log_var), free(image);
    }
    {
        uint64_t index = 0, largest = UINT64_MAX >> 1, beyond = largest + 1;
        uint8_t pixels[PIXELS], before[PIXELS];
        float z[VAE_LATENT_DIM] = {0}, mean[VAE_LATENT_DIM], image[PIXELS] = {0};
        memset(pixels, 77, PIXELS), memset(before, 77, PIXELS);
        PROMISE(vae_sample(0, 0, -1, 1, NULL) == VAE_ERROR_NULL);
        PROMISE(vae_sample_batch(0, NULL, 1, -1, 1, pixels) == VAE_ERROR_NULL);
        PROMISE(vae_sample_batch(0, &index, 1, -1, 1, NULL) == VAE_ERROR_NULL);
        PROMISE(vae_sample_batch(0, NULL, 0, -1, 1, NULL) == VAE_OK);
        PROMISE(vae_latents(0, 0, -1, 1, NULL) == VAE_ERROR_NULL);
        PROMISE(vae_decode(NULL, image) == VAE_ERROR_NULL && vae_decode(z, NULL) == VAE_ERROR_NULL);
        PROMISE(vae_decode_batch(NULL, 1, image) == VAE_ERROR_NULL && vae_decode_batch(NULL, 0, NULL) == VAE_OK);
        PROMISE(vae_encode(NULL, mean, z) == VAE_ERROR_NULL && vae_encode(image, NULL, z) == VAE_ERROR_NULL);
        PROMISE(vae_encode(image, mean, NULL) == VAE_ERROR_NULL);
        PROMISE(vae_reconstruct(NULL, pixels) == VAE_ERROR_NULL && vae_reconstruct(pixels, NULL) == VAE_ERROR_NULL);
        PROMISE(vae_encode_batch(NULL, 1, mean, z) == VAE_ERROR_NULL && vae_encode_batch(NULL, 0, NULL, NULL) == VAE_OK);
        PROMISE(vae_reconstruct_batch(pixels, 1, NULL) == VAE_ERROR_NULL && vae_reconstruct_batch(NULL, 0, NULL) == VAE_OK);
        PROMISE(vae_sample(beyond, 0, -1, 1, pixels) == VAE_ERROR_RANGE);
        PROMISE(vae_sample(0, beyond, -1, 1, pixels) == VAE_ERROR_RANGE);
        PROMISE(vae_sample_batch(0, &beyond, 1, -1, 1, pixels) == VAE_ERROR_RANGE);
        PROMISE(vae_latents(0, beyond, -1, 1, z) == VAE_ERROR_RANGE);
        PROMISE(vae_sample(0, 0, VAE_CLASSES, 1, pixels) == VAE_ERROR_LABEL && vae_sample(0, 0, -2, 1, pixels) == VAE_ERROR_LABEL);
        PROMISE(vae_sample(0, 0, -1, nan, pixels) == VAE_ERROR_VALUE);
        PROMISE(vae_sample(0, 0, -1, infinity, pixels) == VAE_ERROR_VALUE);
        PROMISE(vae_sample(0, 0, -1, -1, pixels) == VAE_ERROR_VALUE);
        PROMISE(memcmp(pixels, before, PIXELS) == 0);
        PROMISE(vae_sample(largest, largest, -1, 0, pixels) == VAE_OK);
        z[VAE_LATENT_DIM - 1] = nan, image[PIXELS - 1] = infinity;
        PROMISE(vae_decode(z, image) == VAE_ERROR_VALUE && image[PIXELS - 1] == infinity);
        PROMISE(vae_decode_batch(z, 1, image) == VAE_ERROR_VALUE);
        PROMISE(vae_encode(image, mean, z) == VAE_ERROR_VALUE && vae_encode_batch(image, 1, mean, z) == VAE_ERROR_VALUE);
    }
    return 0;
}
