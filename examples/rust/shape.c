/* The model's sizes, for Rust to read: channels, height and width of an image, and latents. */
#include "generator.h"

extern const int32_t IMAGE_SHAPE[3], LATENT_DIM;
const int32_t IMAGE_SHAPE[3] = {VAE_CHANNELS, VAE_HEIGHT, VAE_WIDTH};
const int32_t LATENT_DIM = VAE_LATENT_DIM;
