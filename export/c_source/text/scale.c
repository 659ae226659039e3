/* GCC 12.2 with -O3 -mfma fuses a product with a sum of constants of both signs, in spite of fp-contract=off. Never copied
   into another function, this one has no constants. */
#if defined(__GNUC__) && !defined(__clang__)
#define VAE_ALONE __attribute__((noinline, noclone))
#else
#define VAE_ALONE
#endif

/* x = x scale + shift, one pair for each of the `channels`, which are the inner axis. */
static VAE_ALONE void vae_scale(float *x, size_t rows, size_t channels, const float *scale, const float *shift) {
    size_t row, channel;
    for (row = 0; row < rows; ++row, x += channels) {
        for (channel = 0; channel < channels; ++channel) {
            x[channel] = x[channel] * scale[channel] + shift[channel];
        }
    }
}
