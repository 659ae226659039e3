/* Seed and index to a picture: sample SEED INDEX PICTURE [CLASS]; the picture is a .pgm (gray) or a .ppm (colour). */
#include "generator.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    static uint8_t pixels[VAE_HEIGHT * VAE_WIDTH * VAE_CHANNELS];
    FILE *file;
    int code = vae_self_test();
    const int64_t label = argc == 5 ? strtoll(argv[4], NULL, 10) : -1;
    if (argc != 4 && argc != 5) {
        fprintf(stderr, "usage: sample SEED INDEX PICTURE [CLASS]\n");
        return 2;
    }
    if (code == VAE_OK) {
        code = vae_sample(strtoull(argv[1], NULL, 10), strtoull(argv[2], NULL, 10), label, 1.0f, pixels);
    }
    if (code != VAE_OK) {
        fprintf(stderr, "sample: error %d, see generator.h\n", code);
        return 1;
    }
    file = fopen(argv[3], "wb");
    if (file == NULL) {
        perror(argv[3]);
        return 1;
    }
    fprintf(file, "P%d\n%d %d\n255\n", VAE_CHANNELS == 1 ? 5 : 6, VAE_WIDTH, VAE_HEIGHT);
    fwrite(pixels, 1, sizeof pixels, file);
    if (fclose(file) != 0) {
        perror(argv[3]);
        return 1;
    }
    return 0;
}
