static void vae_elu(float *x, size_t count, float slope) {
    size_t i;
    for (i = 0; i < count; ++i) {
        x[i] = x[i] > 0.0f ? x[i] : (vae_exp(x[i]) - 1.0f) * slope;
    }
}
