/* Seed and index to a picture through onnxruntime's C API: sample LIBRARY sampler.onnx SEED INDEX PICTURE [CLASS]. The
   graph holds the noise and the decoder; the picture is a .pgm (gray) or a .ppm (colour). */
#include "onnxruntime_table.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const OrtTable *ort;

static void check(OrtStatus *status) {
    if (status != NULL) {
        fprintf(stderr, "onnxruntime: %s\n", ort->get_error_message(status));
        exit(1);
    }
}

/* The library's function table; dlopen, because its symbols carry the version of the release. */
static const OrtBase *open_library(const char *path) {
    void *const library = dlopen(path, RTLD_NOW);
    const OrtBase *(*get_base)(void) = NULL;
    void *const symbol = library ? dlsym(library, "OrtGetApiBase") : NULL;
    if (symbol == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    memcpy(&get_base, &symbol, sizeof symbol); /* C has no cast from an object to a function; POSIX has this */
    return get_base();
}

static OrtValue *tensor(const OrtMemoryInfo *memory, void *data, size_t bytes, size_t rank, int type) {
    const int64_t one = 1;
    OrtValue *value = NULL;
    check(ort->create_tensor_with_data(memory, data, bytes, &one, rank, type, &value));
    return value;
}

int main(int argc, char **argv) {
    const char *const inputs[] = {"seed", "index", "temperature", "label"}, *const outputs[] = {"image"};
    int64_t seed, index, label = -1, shape[4]; /* label -1: any class */
    float temperature = 1.0f;
    OrtEnv *env = NULL;
    OrtSessionOptions *options = NULL;
    OrtSession *session = NULL;
    OrtMemoryInfo *memory = NULL;
    OrtValue *given[4], *image = NULL;
    OrtShape *described = NULL;
    size_t count = 0, rank = 0, i;
    void *pixels = NULL;
    FILE *file;
    if (argc != 6 && argc != 7) {
        fprintf(stderr, "usage: sample LIBRARY sampler.onnx SEED INDEX PICTURE [CLASS]\n");
        return 2;
    }
    ort = open_library(argv[1])->get_table(ORT_TABLE_VERSION);
    seed = strtoll(argv[3], NULL, 10);
    index = strtoll(argv[4], NULL, 10);
    label = argc == 7 ? strtoll(argv[6], NULL, 10) : -1;

    check(ort->create_env(ORT_WARNING, "sample", &env));
    check(ort->create_session_options(&options));
    check(ort->create_session(env, argv[2], options, &session));
    check(ort->create_cpu_memory_info(ORT_ARENA, ORT_DEFAULT_MEMORY, &memory));
    check(ort->session_get_input_count(session, &count)); /* 4 where the model knows classes */
    if (count != 3 && count != 4) {
        fprintf(stderr, "%s is no sampler of vae-toolchain\n", argv[2]);
        return 1;
    }
    given[0] = tensor(memory, &seed, sizeof seed, 0, ORT_INT64);
    given[1] = tensor(memory, &index, sizeof index, 1, ORT_INT64);
    given[2] = tensor(memory, &temperature, sizeof temperature, 0, ORT_FLOAT);
    given[3] = tensor(memory, &label, sizeof label, 1, ORT_INT64);
    check(ort->run(session, NULL, inputs, (const OrtValue *const *)given, count, outputs, 1, &image));
    check(ort->get_tensor_type_and_shape(image, &described)); /* (1, height, width, channels) */
    check(ort->get_dimensions_count(described, &rank));
    if (rank != 4) {
        fprintf(stderr, "%s is no sampler of vae-toolchain\n", argv[2]);
        return 1;
    }
    check(ort->get_dimensions(described, shape, rank));
    check(ort->get_tensor_mutable_data(image, &pixels));

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
    ort->release_shape(described);
    ort->release_value(image);
    for (i = 0; i < 4; ++i) {
        ort->release_value(given[i]);
    }
    ort->release_memory_info(memory);
    ort->release_session(session);
    ort->release_session_options(options);
    ort->release_env(env);
    return 0;
}
