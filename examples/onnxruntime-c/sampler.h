/* A bundle's sampler.onnx through onnxruntime's C API: seeds and indices to pictures. */
#ifndef SAMPLER_H
#define SAMPLER_H

#include "onnxruntime_table.h"

typedef struct {
    const OrtTable *ort;
    OrtEnv *env;
    OrtSessionOptions *options;
    OrtSession *session;
    OrtMemoryInfo *memory;
    size_t inputs; /* 4 where the model knows classes, otherwise 3 */
} Sampler;

/* Ends the program with onnxruntime's message, unless `status` is success. */
void sampler_check(const OrtTable *ort, OrtStatus *status);

/* library: the path of libonnxruntime. Ends the program with a message where one of the files cannot be used. */
Sampler sampler_open(const char *library, const char *graph);

/* Runs the graph on `count` indices of a seed. labels: the class of each, -1 for any, which a model without classes does
   not read. outputs: names, "image" among them; `found` gets as many values, which ort->release_value frees. */
void sampler_run(
    const Sampler *sampler, int64_t seed, int64_t *indices, int64_t *labels, size_t count, float temperature,
    const char *const *outputs, size_t output_count, OrtValue **found
);

void sampler_close(Sampler *sampler);

#endif
