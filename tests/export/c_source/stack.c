/* Draws on a thread that has no more stack than generator.h promises to need, beside what a thread itself takes. */
#include "generator.h"

#include <pthread.h>
#include <stdlib.h>

static uint8_t pixels[40 * VAE_CHANNELS * VAE_HEIGHT * VAE_WIDTH];
static float z[40 * VAE_LATENT_DIM], log_var[40 * VAE_LATENT_DIM], image[40 * VAE_CHANNELS * VAE_HEIGHT * VAE_WIDTH];
static uint64_t indices[40];

static void *singles(void *unused) {
    int *const code = unused;
    *code = vae_sample(1, 2, -1, 1.0f, pixels) | vae_decode(z, image);
    *code |= vae_encode(image, z, log_var) | vae_reconstruct(pixels, pixels);
    return NULL;
}

static void *batches(void *unused) {
    int *const code = unused;
    *code = vae_sample_batch(1, indices, 40, -1, 1.0f, pixels) | vae_decode_batch(z, 40, image);
    *code |= vae_encode_batch(image, 40, z, log_var) | vae_reconstruct_batch(pixels, 40, pixels);
    return NULL;
}

static int on_thread(void *(*work)(void *), size_t bytes) {
    pthread_attr_t attributes;
    pthread_t thread;
    int code = 1;
    const size_t page = 4096, own = 12 * 1024;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstacksize(&attributes, (bytes + own + page - 1) / page * page)) {
        return 2;
    }
    if (pthread_create(&thread, &attributes, work, &code) || pthread_join(thread, NULL)) {
        return 3;
    }
    return code;
}

int main(void) { return on_thread(singles, VAE_STACK_BYTES) | on_thread(batches, VAE_STACK_BYTES_BATCH); }
