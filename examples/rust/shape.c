/* The image's sizes, for Rust to read: channels, height, width. */
#include "generator.h"

extern const int32_t IMAGE_SHAPE[3];
const int32_t IMAGE_SHAPE[3] = {VAE_CHANNELS, VAE_HEIGHT, VAE_WIDTH};
