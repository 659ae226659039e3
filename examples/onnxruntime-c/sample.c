/* Seed and index to a picture through onnxruntime's C API: sample LIBRARY sampler.onnx SEED INDEX PICTURE [CLASS]. The
   graph holds the noise and the decoder; the picture is a .pgm (gray) or a .ppm (colour). */
#include "sampler.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv) {
    const char *const outputs[] = {"image"};
    int64_t seed, index, label, shape[4];
    Sampler sampler;
    OrtValue *image = NULL;
    OrtShape *described = NULL;
    size_t rank = 0;
    void *pixels = NULL;
    FILE *file;
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: sample LIBRARY sampler.onnx SEED INDEX PICTURE [CLASS]\n");
        return 2;
    }
    seed = strtoll(argv[3], NULL, 10);
    index = strtoll(argv[4], NULL, 10);
    label = argc == 7 ? strtoll(argv[6], NULL, 10) : -1; /* -1: any class */

    sampler = sampler_open(argv[1], argv[2]);
    sampler_run(&sampler, seed, &index, &label, 1, 1.0f, outputs, 1, &image);
    sampler_check(sampler.ort, sampler.ort->get_tensor_type_and_shape(image, &described)); /* (1, height, width, channels) */
    sampler_check(sampler.ort, sampler.ort->get_dimensions_count(described, &rank));
    if (rank != 4) {
        fprintf(stderr, "%s is no sampler of vae-toolchain\n", argv[2]);
        return 1;
    }
    sampler_check(sampler.ort, sampler.ort->get_dimensions(described, shape, rank));
    sampler_check(sampler.ort, sampler.ort->get_tensor_mutable_data(image, &pixels));

    file = fopen(argv[5], "wb");
    if (file == NULL) {
        perror(argv[5]);
        return 1;
    }
    fprintf(file, "P%d\n%d %d\n255\n", shape[3] == 1 ? 5 : 6, (int)shape[2], (int)shape[1]);
    fwrite(pixels, 1, (size_t)(shape[1] * shape[2] * shape[3]), file);
    if (fclose(file) != 0) {
        perror(argv[5]);
        return 1;
    }
    sampler.ort->release_shape(described);
    sampler.ort->release_value(image);
    sampler_close(&sampler);
    return 0;
}
