/* 1 / sqrt(x) for positive x: half the exponent, and four of Newton's steps. */
static float vae_inverse_root(float x) {
    const float half = x * 0.5f;
    float y = vae_number(0x5F3759DFu - (vae_bits(x) >> 1));
    int i;
    for (i = 0; i < 4; ++i) {
        y = y * (1.5f - half * y * y);
    }
    return y;
}

enum { VAE_RUN = 64 }; /* numbers that are summed from zero before they join the total */

/* The sum of `width` numbers, or of their squares, in each of `rows` rows, `stride` apart. */
static float vae_group_sum(const float *x, size_t rows, size_t stride, size_t width, int squared) {
    float total = 0.0f, run = 0.0f;
    size_t row, i;
    int length = 0;
    for (row = 0; row < rows; ++row, x += stride) {
        for (i = 0; i < width; ++i) {
            const float number = squared ? x[i] * x[i] : x[i];
            run = run + number;
            if (++length == VAE_RUN) {
                total = total + run;
                run = 0.0f;
                length = 0;
            }
        }
    }
    return total + run;
}

/* Mean 0 and variance 1 in each group of `width` neighbouring channels of an image: x (images, rows, groups, width). */
static void vae_normalize(float *x, size_t images, size_t rows, size_t groups, size_t width, float epsilon) {
    const size_t stride = groups * width;
    const float count = (float)(rows * width);
    size_t group, row, i;
    for (; images > 0; --images, x += rows * stride) {
        for (group = 0; group < groups; ++group) {
            float *const first = x + group * width;
            const float mean = vae_group_sum(first, rows, stride, width, 0) / count;
            float factor;
            for (row = 0; row < rows; ++row) {
                for (i = 0; i < width; ++i) {
                    first[row * stride + i] = first[row * stride + i] - mean;
                }
            }
            factor = vae_inverse_root(vae_group_sum(first, rows, stride, width, 1) / count + epsilon);
            for (row = 0; row < rows; ++row) {
                for (i = 0; i < width; ++i) {
                    first[row * stride + i] = first[row * stride + i] * factor;
                }
            }
        }
    }
}
