/* y[i] = x[from[i]] in each of `count` images, of `given` numbers in x and of `size` in y. */
static void vae_reorder(int count, const float *x, size_t given, const uint32_t *from, size_t size, float *y) {
    size_t i;
    for (; count > 0; --count, x += given, y += size) {
        for (i = 0; i < size; ++i) {
            y[i] = x[from[i]];
        }
    }
}
