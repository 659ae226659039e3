static void vae_multiply(float *x, const float *y, size_t count) {
    size_t i;
    for (i = 0; i < count; ++i) {
        x[i] = x[i] * y[i];
    }
}
