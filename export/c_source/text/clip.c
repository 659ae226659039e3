static void vae_clip(float *x, size_t count, float low, float high) {
    size_t i;
    for (i = 0; i < count; ++i) {
        x[i] = x[i] > low ? (x[i] < high ? x[i] : high) : low;
    }
}
