/* What test_conformance.py asks of a host, through onnxruntime's C API:
   probe LIBRARY GRAPH LATENTS_OUTPUT LATENTS IMAGES SEED... -- INDEX... [-- LABEL...] */
#include "sampler.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MOST = 64, TIMED = 200 };

/* The bytes of a tensor whose numbers have `size` bytes. */
static void put(const Sampler *s, OrtValue *value, size_t size, FILE *file) {
    OrtShape *shape = NULL;
    int64_t sizes[4];
    size_t rank = 0, i;
    void *data = NULL;
    sampler_check(s->ort, s->ort->get_tensor_type_and_shape(value, &shape));
    sampler_check(s->ort, s->ort->get_dimensions_count(shape, &rank));
    sampler_check(s->ort, s->ort->get_dimensions(shape, sizes, rank));
    sampler_check(s->ort, s->ort->get_tensor_mutable_data(value, &data));
    for (i = 0; i < rank; ++i) {
        size *= (size_t)sizes[i];
    }
    fwrite(data, 1, size, file);
    s->ort->release_shape(shape);
    s->ort->release_value(value);
}

int main(int argc, char **argv) {
    int64_t numbers[3][MOST];
    size_t counts[3] = {0, 0, 0}, list = 0, i;
    const char *outputs[2] = {NULL, "image"};
    OrtValue *found[2];
    FILE *latents, *images;
    Sampler sampler;
    clock_t started;
    int at;
    if (argc < 7) {
        return 2;
    }
    outputs[0] = argv[3];
    for (at = 6; at < argc; ++at) {
        if (strcmp(argv[at], "--") == 0) {
            ++list;
        } else {
            numbers[list][counts[list]++] = strtoll(argv[at], NULL, 10);
        }
    }
    for (i = counts[2]; i < MOST; ++i) {
        numbers[2][i] = -1;
    }
    sampler = sampler_open(argv[1], argv[2]);
    latents = fopen(argv[4], "wb");
    images = fopen(argv[5], "wb");
    for (i = 0; i < counts[0]; ++i) {
        sampler_run(&sampler, numbers[0][i], numbers[1], numbers[2], counts[1], 1.0f, outputs, 2, found);
        put(&sampler, found[0], sizeof(float), latents);
        put(&sampler, found[1], 1, images);
    }
    started = clock();
    for (i = 0; i < TIMED; ++i) {
        int64_t index = (int64_t)i, label = -1;
        sampler_run(&sampler, 0, &index, &label, 1, 1.0f, outputs + 1, 1, found);
        sampler.ort->release_value(found[0]);
    }
    printf("{\"ms\": %g}\n", 1000.0 * (double)(clock() - started) / CLOCKS_PER_SEC / TIMED);
    sampler_close(&sampler);
    return fclose(latents) | fclose(images);
}
