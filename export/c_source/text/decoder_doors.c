/* ---- What generator.h declares: the generator --------------------------------------------------------------------- */

enum { VAE_PIXELS = VAE_CHANNELS * VAE_HEIGHT * VAE_WIDTH, VAE_AREA = VAE_HEIGHT * VAE_WIDTH };
#define VAE_LARGEST (UINT64_MAX >> 1)

static int vae_check_draw(uint64_t seed, int64_t label, float temperature) {
    if (seed > VAE_LARGEST) {
        return VAE_ERROR_RANGE;
    }
    if (label < -1 || label >= VAE_CLASSES) {
        return VAE_ERROR_LABEL;
    }
    return vae_all_finite(&temperature, 1) && temperature >= 0.0f ? VAE_OK : VAE_ERROR_VALUE;
}

/* Indices to pixels of one block. work: VAE_DECODER_WORK floats for each image. */
static void vae_sample_block(
    uint64_t seed, const uint64_t *indices, int count, int64_t label, float temperature, float *work, uint8_t *pixels
) {
    float *const z = work, *const image = z + count * VAE_LATENT_DIM, *const buffers = image + count * VAE_PIXELS;
    int i;
    for (i = 0; i < count; ++i) {
        vae_prior(seed, indices[i], label, temperature, z + i * VAE_LATENT_DIM);
    }
    vae_decoder(count, z, buffers, image);
    vae_round(image, (size_t)count * VAE_PIXELS, pixels);
}

/* Latents to images (C, H, W) of one block. work: as above. */
static void vae_decode_block(const float *z, int count, float *work, float *image) {
    float *const rows = work, *const buffers = rows + count * VAE_PIXELS;
    int i, channel, at;
    vae_decoder(count, z, buffers, rows);
    for (i = 0; i < count; ++i) {
        for (channel = 0; channel < VAE_CHANNELS; ++channel) {
            for (at = 0; at < VAE_AREA; ++at) {
                image[(i * VAE_CHANNELS + channel) * VAE_AREA + at] = rows[(i * VAE_AREA + at) * VAE_CHANNELS + channel];
            }
        }
    }
}

int vae_latents(uint64_t seed, uint64_t index, int64_t label, float temperature, float *z) {
    const int code = vae_check_draw(seed, label, temperature);
    if (z == NULL) {
        return VAE_ERROR_NULL;
    }
    if (code != VAE_OK || index > VAE_LARGEST) {
        return code != VAE_OK ? code : VAE_ERROR_RANGE;
    }
    vae_prior(seed, index, label, temperature, z);
    return VAE_OK;
}

int vae_sample(uint64_t seed, uint64_t index, int64_t label, float temperature, uint8_t *pixels) {
    const int code = vae_check_draw(seed, label, temperature);
    float work[VAE_DECODER_WORK];
    if (pixels == NULL) {
        return VAE_ERROR_NULL;
    }
    if (code != VAE_OK || index > VAE_LARGEST) {
        return code != VAE_OK ? code : VAE_ERROR_RANGE;
    }
    vae_sample_block(seed, &index, 1, label, temperature, work, pixels);
    return VAE_OK;
}

int vae_sample_batch(
    uint64_t seed, const uint64_t *indices, size_t count, int64_t label, float temperature, uint8_t *pixels
) {
    const int code = vae_check_draw(seed, label, temperature);
    float work[VAE_BLOCK * VAE_DECODER_WORK];
    size_t i;
    if (count > 0 && (indices == NULL || pixels == NULL)) {
        return VAE_ERROR_NULL;
    }
    if (code != VAE_OK) {
        return code;
    }
    for (i = 0; i < count; ++i) {
        if (indices[i] > VAE_LARGEST) {
            return VAE_ERROR_RANGE;
        }
    }
    for (i = 0; i < count; i += VAE_BLOCK) {
        const int images = count - i < VAE_BLOCK ? (int)(count - i) : VAE_BLOCK;
        vae_sample_block(seed, indices + i, images, label, temperature, work, pixels + i * VAE_PIXELS);
    }
    return VAE_OK;
}

int vae_decode(const float *z, float *image) {
    float work[VAE_DECODER_WORK];
    if (z == NULL || image == NULL) {
        return VAE_ERROR_NULL;
    }
    if (!vae_all_finite(z, VAE_LATENT_DIM)) {
        return VAE_ERROR_VALUE;
    }
    vae_decode_block(z, 1, work, image);
    return VAE_OK;
}

int vae_decode_batch(const float *z, size_t count, float *image) {
    float work[VAE_BLOCK * VAE_DECODER_WORK];
    size_t i;
    if (count > 0 && (z == NULL || image == NULL)) {
        return VAE_ERROR_NULL;
    }
    if (count > 0 && !vae_all_finite(z, count * VAE_LATENT_DIM)) {
        return VAE_ERROR_VALUE;
    }
    for (i = 0; i < count; i += VAE_BLOCK) {
        const int images = count - i < VAE_BLOCK ? (int)(count - i) : VAE_BLOCK;
        vae_decode_block(z + i * VAE_LATENT_DIM, images, work, image + i * VAE_PIXELS);
    }
    return VAE_OK;
}
