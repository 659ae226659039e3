static void vae_silu(float *x, size_t count) {
    size_t i;
    for (i = 0; i < count; ++i) {
        x[i] = x[i] / (1.0f + vae_exp(-x[i]));
    }
}
