static void vae_relu(float *x, size_t count) {
    size_t i;
    for (i = 0; i < count; ++i) {
        x[i] = x[i] > 0.0f ? x[i] : 0.0f;
    }
}
