/* Vectors where the compiler has them, and how many inputs a tile takes at once. Neither changes a bit of a result. The
   NEON of 32-bit ARM stays out: it flushes subnormal numbers to zero. */
#if defined(__clang__) || (defined(__GNUC__) && __GNUC__ >= @oldest_gcc@)
#define VAE_HAS_VECTORS
#endif
#if defined(VAE_HAS_VECTORS) && defined(__AVX512F__)
#define VAE_LANES 16
#define VAE_ROWS 8
#define VAE_EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3) DO(4) DO(5) DO(6) DO(7)
#else
#if defined(VAE_HAS_VECTORS) && defined(__AVX__)
#define VAE_LANES 8
#elif defined(VAE_HAS_VECTORS) && (defined(__SSE2__) || defined(__aarch64__) || defined(__wasm_simd128__))
#define VAE_LANES 4
#else
#define VAE_LANES 1
#endif
#define VAE_ROWS 4
#define VAE_EACH_ROW(DO) DO(0) DO(1) DO(2) DO(3)
#endif

#if VAE_LANES == 1
typedef float vae_vector, vae_loose;
#define VAE_ZERO 0.0f
#else
typedef float vae_vector __attribute__((vector_size(4 * VAE_LANES)));
typedef float vae_loose __attribute__((vector_size(4 * VAE_LANES), aligned(4), may_alias)); /* at any float's address */
#define VAE_ZERO {0.0f}
#endif

#if defined(__GNUC__)
#define VAE_ALIGNED __attribute__((aligned(64)))
#else
#define VAE_ALIGNED
#endif
