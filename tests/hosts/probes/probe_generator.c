/* What test_conformance.py asks of a host, from generator.c: probe LATENTS IMAGES SEED... -- INDEX... */
#include "generator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { PIXELS = VAE_CHANNELS * VAE_HEIGHT * VAE_WIDTH, TIMED = 200 };

int main(int argc, char **argv) {
    static uint8_t pixels[PIXELS];
    float z[VAE_LATENT_DIM];
    FILE *const latents = argc > 3 ? fopen(argv[1], "wb") : NULL, *const images = latents ? fopen(argv[2], "wb") : NULL;
    int split = 3, seed, index, code = vae_self_test();
    clock_t started;
    if (images == NULL) {
        return 2;
    }
    while (split < argc && strcmp(argv[split], "--") != 0) {
        ++split;
    }
    for (seed = 3; seed < split; ++seed) {
        for (index = split + 1; index < argc; ++index) {
            const uint64_t first = strtoull(argv[seed], NULL, 10), second = strtoull(argv[index], NULL, 10);
            const int64_t label = (index - split - 1) % (VAE_CLASSES + 1) - 1; /* any class, then each in turn */
            code |= vae_latents(first, second, label, 1.0f, z) | vae_sample(first, second, label, 1.0f, pixels);
            fwrite(z, sizeof z, 1, latents);
            fwrite(pixels, sizeof pixels, 1, images);
        }
    }
    started = clock();
    for (index = 0; index < TIMED; ++index) {
        vae_sample(0, (uint64_t)index, -1, 1.0f, pixels);
    }
    printf("{\"ms\": %g}\n", 1000.0 * (double)(clock() - started) / CLOCKS_PER_SEC / TIMED);
    return code | fclose(latents) | fclose(images);
}
