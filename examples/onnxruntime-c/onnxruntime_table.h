/* The part of onnxruntime's C API that sampler.c uses, declared by hand for packages that bring the library without its
   header. Everything here is version 1 of the API: onnxruntime keeps the places of its functions for ever, so this works
   with any release since 1.0. Where you have onnxruntime_c_api.h, include that instead. */
#ifndef ONNXRUNTIME_TABLE_H
#define ONNXRUNTIME_TABLE_H

#include <stddef.h>
#include <stdint.h>

enum { ORT_TABLE_VERSION = 1 };
enum { ORT_WARNING = 2, ORT_FLOAT = 1, ORT_INT64 = 7, ORT_ARENA = 1, ORT_DEFAULT_MEMORY = 0 };

typedef struct OrtStatus OrtStatus; /* NULL: success */
typedef struct OrtEnv OrtEnv;
typedef struct OrtSession OrtSession;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtRunOptions OrtRunOptions;
typedef struct OrtMemoryInfo OrtMemoryInfo;
typedef struct OrtValue OrtValue;
typedef struct OrtShape OrtShape;
typedef void (*OrtUnused)(void);

/* Functions by place; the gaps are functions that nobody calls here. */
typedef struct {
    OrtUnused create_status, get_error_code;                              /* 0, 1 */
    const char *(*get_error_message)(const OrtStatus *);                  /* 2 */
    OrtStatus *(*create_env)(int level, const char *name, OrtEnv **);     /* 3 */
    OrtUnused from_4[3];
    OrtStatus *(*create_session)(const OrtEnv *, const char *path, const OrtSessionOptions *, OrtSession **); /* 7 */
    OrtUnused create_session_from_array;                                  /* 8 */
    OrtStatus *(*run)(
        OrtSession *, const OrtRunOptions *, const char *const *inputs, const OrtValue *const *, size_t,
        const char *const *outputs, size_t, OrtValue **
    );                                                                    /* 9 */
    OrtStatus *(*create_session_options)(OrtSessionOptions **);           /* 10 */
    OrtUnused from_11[19];
    OrtStatus *(*session_get_input_count)(const OrtSession *, size_t *);  /* 30 */
    OrtUnused from_31[18];
    OrtStatus *(*create_tensor_with_data)(
        const OrtMemoryInfo *, void *data, size_t bytes, const int64_t *shape, size_t rank, int type, OrtValue **
    );                                                                    /* 49 */
    OrtUnused is_tensor;                                                  /* 50 */
    OrtStatus *(*get_tensor_mutable_data)(OrtValue *, void **);           /* 51 */
    OrtUnused from_52[9];
    OrtStatus *(*get_dimensions_count)(const OrtShape *, size_t *);       /* 61 */
    OrtStatus *(*get_dimensions)(const OrtShape *, int64_t *, size_t);    /* 62 */
    OrtUnused from_63[2];
    OrtStatus *(*get_tensor_type_and_shape)(const OrtValue *, OrtShape **); /* 65 */
    OrtUnused from_66[3];
    OrtStatus *(*create_cpu_memory_info)(int allocator, int memory, OrtMemoryInfo **); /* 69 */
    OrtUnused from_70[22];
    void (*release_env)(OrtEnv *);                                        /* 92 */
    void (*release_status)(OrtStatus *);                                  /* 93 */
    void (*release_memory_info)(OrtMemoryInfo *);                         /* 94 */
    void (*release_session)(OrtSession *);                                /* 95 */
    void (*release_value)(OrtValue *);                                    /* 96 */
    OrtUnused from_97[2];
    void (*release_shape)(OrtShape *);                                    /* 99 */
    void (*release_session_options)(OrtSessionOptions *);                 /* 100 */
} OrtTable;

typedef char OrtTableHasItsSize[sizeof(OrtTable) == 101 * sizeof(OrtUnused) ? 1 : -1];

typedef struct {
    const OrtTable *(*get_table)(uint32_t version);
    const char *(*get_version)(void);
} OrtBase;

#endif
