#include "sampler.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void sampler_check(const OrtTable *ort, OrtStatus *status) {
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

Sampler sampler_open(const char *library, const char *graph) {
    Sampler s = {0};
    s.ort = open_library(library)->get_table(ORT_TABLE_VERSION);
    sampler_check(s.ort, s.ort->create_env(ORT_WARNING, "sampler", &s.env));
    sampler_check(s.ort, s.ort->create_session_options(&s.options));
    sampler_check(s.ort, s.ort->create_session(s.env, graph, s.options, &s.session));
    sampler_check(s.ort, s.ort->create_cpu_memory_info(ORT_ARENA, ORT_DEFAULT_MEMORY, &s.memory));
    sampler_check(s.ort, s.ort->session_get_input_count(s.session, &s.inputs));
    if (s.inputs != 3 && s.inputs != 4) {
        fprintf(stderr, "%s is no sampler of vae-toolchain\n", graph);
        exit(1);
    }
    return s;
}

/* A vector of `count` numbers, which stay where they are; rank 0: a single number. */
static OrtValue *tensor(const Sampler *s, void *data, size_t size, size_t count, size_t rank, int type) {
    const int64_t shape = (int64_t)count;
    OrtValue *value = NULL;
    sampler_check(s->ort, s->ort->create_tensor_with_data(s->memory, data, size * count, &shape, rank, type, &value));
    return value;
}

void sampler_run(
    const Sampler *sampler, int64_t seed, int64_t *indices, int64_t *labels, size_t count, float temperature,
    const char *const *outputs, size_t output_count, OrtValue **found
) {
    const char *const names[] = {"seed", "index", "temperature", "label"};
    OrtValue *given[4];
    size_t i;
    given[0] = tensor(sampler, &seed, sizeof seed, 1, 0, ORT_INT64);
    given[1] = tensor(sampler, indices, sizeof *indices, count, 1, ORT_INT64);
    given[2] = tensor(sampler, &temperature, sizeof temperature, 1, 0, ORT_FLOAT);
    given[3] = tensor(sampler, labels, sizeof *labels, count, 1, ORT_INT64);
    for (i = 0; i < output_count; ++i) {
        found[i] = NULL;
    }
    sampler_check(
        sampler->ort, sampler->ort->run(
            sampler->session, NULL, names, (const OrtValue *const *)given, sampler->inputs, outputs, output_count, found
        )
    );
    for (i = 0; i < 4; ++i) {
        sampler->ort->release_value(given[i]);
    }
}

void sampler_close(Sampler *sampler) {
    sampler->ort->release_memory_info(sampler->memory);
    sampler->ort->release_session(sampler->session);
    sampler->ort->release_session_options(sampler->options);
    sampler->ort->release_env(sampler->env);
}
