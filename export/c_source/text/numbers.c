/* ---- Numbers and their bits --------------------------------------------------------------------------------------- */

typedef union {
    uint32_t bits;
    float number;
} vae_word; /* written as one, read as the other: defined since C99 TC3 */

static uint32_t vae_bits(float number) {
    vae_word word;
    word.number = number;
    return word.bits;
}

static float vae_number(uint32_t bits) {
    vae_word word;
    word.bits = bits;
    return word.number;
}

static int vae_all_finite(const float *x, size_t count) {
    uint32_t largest = 0;
    size_t i;
    for (i = 0; i < count; ++i) {
        const uint32_t magnitude = vae_bits(x[i]) & 0x7FFFFFFFu;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest < 0x7F800000u;
}
